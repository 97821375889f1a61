"""Two processes over gloo: DDP's replicas stay bitwise equal, FSDP2's shards make the unsharded step."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from sign_ablate.optim import HybridSignSGD

OPTIONS = {
    "hybrid": {"lr": 0.01, "switch_step": 3, "dither": "pre", "alpha": 0.01, "weight_decay": 0.1},
    "tensor": {"lr": 0.01, "switch_step": 3, "lambda_scope": "tensor"},
    "rms": {"lr": 0.01, "switch_step": 3, "dither": "pre", "alpha": 1.0, "scale": "global_rms"},
    "stable": {"lr": 0.01, "trigger": "stable", "tolerance": 0.5, "patience": 1, "eta": 0.9},
}


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def train(net, optimizer, data):
    for x in data:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def batches(rank=None):
    """Six batches of eight; one process has its half of each."""
    torch.manual_seed(1)
    whole = torch.randn(6, 8, 5) * torch.tensor([1.0, 0.1, 3.0, 1.0, 1.0, 0.5])[:, None, None]
    return whole if rank is None else whole[:, 4 * rank : 4 * rank + 4]


def worker(rank, file, queue):
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = {}
    try:
        for name, options in OPTIONS.items():
            net = nn.parallel.DistributedDataParallel(model())
            train(net, HybridSignSGD(net.parameters(), **options), batches(rank))
            found["ddp", name] = [p.detach().tolist() for p in net.parameters()]
            found["fsdp", name] = sharded(options, rank)
        queue.put((rank, found))
    finally:
        dist.destroy_process_group()


def sharded(options, rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = fully_shard(model(), mesh=init_device_mesh("cpu", (2,)))
    optimizer = HybridSignSGD(net.parameters(), **options)
    train(net, optimizer, batches(rank))
    assert all(type(p).__name__ == "DTensor" or hasattr(p, "placements") for p in net.parameters())
    return [p.detach().full_tensor().tolist() for p in net.parameters()]


@pytest.fixture(scope="module")
def results():
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=worker, args=(r, f"{folder}/store", queue)) for r in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0, 0]
    return dict(queue.get() for _ in range(2))


def single(options):
    net = model()
    train(net, HybridSignSGD(net.parameters(), **options), batches())
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize("name", OPTIONS)
def test_ddp_replicas_stay_bitwise_equal(results, name):
    assert results[0]["ddp", name] == results[1]["ddp", name]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_make_the_step_of_one(results, kind, name):
    """λ's inner products sum over the shards, and a shard's noise is the whole parameter's."""
    for found, expected in zip(results[0][kind, name], single(OPTIONS[name]), strict=True):
        torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-4, atol=1e-5)
