"""Two processes over gloo: DDP's replicas stay bitwise equal, FSDP2's shards make the unsharded step."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from sign_ablate.optim import (
    QSGD,
    SWATS,
    CompressedSGD,
    HybridSignSGD,
    LinearTwin,
    Lion,
    NoisySGD,
    OneBit,
    OneBitAdam,
    ScaledSign,
    SignSGD,
    TernGrad,
    TopK,
)
from tests.optim.cases import KINDS

pytestmark = pytest.mark.slow

PRE = {"dither": "pre", "alpha": 0.01}
#: name of the OptimizerInfo entry, class, options
CASES = {
    "signsgd": ("SignSGD", SignSGD, {"weight_decay": 0.1}),
    "dither": ("DitheredSignSGD", SignSGD, PRE),
    "hybrid": ("HybridSignSGD", HybridSignSGD, {"switch_step": 3, **PRE, "weight_decay": 0.1}),
    "tensor": ("HybridSignSGD", HybridSignSGD, {"switch_step": 3, "lambda_scope": "tensor"}),
    "sign after": ("HybridSignSGD", HybridSignSGD, {"switch_step": 3, "after": "sign"}),
    "kept": ("HybridSignSGD", HybridSignSGD, {"switch_step": 3, "length": "kept"}),
    "rms": ("HybridSignSGD", HybridSignSGD, {"switch_step": 3, **PRE, "alpha": 1.0, "scale": "global_rms"}),
    "stable": (
        "HybridSignSGD",
        HybridSignSGD,
        {"trigger": "stable", "tolerance": 0.5, "patience": 1, "eta": 0.9},
    ),
    "twin": ("ClearLinearTwin", LinearTwin, {"alpha": 0.1}),
    "noisy twin": ("NoisyLinearTwin", LinearTwin, {"alpha": 0.1, "noise": True, "weight_decay": 0.1}),
    "sgd-noise": ("ShortNoisySGD", NoisySGD, {"alpha": 0.1, "weight_decay": 0.1}),
    "lion": ("Lion", Lion, {"weight_decay": 0.1}),
    "swats": ("SWATS", SWATS, {"tol": 1e9}),  # switches at its second step
    "swats tensor": ("SWATS", SWATS, {"tol": 1e9, "scope": "tensor"}),
    "onebit-adam": ("ShortOneBitAdam", OneBitAdam, {"warmup_steps": 3, "eps": 1e-2}),
    "uncompressed": ("UncompressedSGD", CompressedSGD, {"compressor": None, "momentum": 0.9}),
    "scaled sign": ("ScaledSignSGD", CompressedSGD, {"compressor": ScaledSign()}),
    "ef-signsgd": ("ScaledSignSGD", CompressedSGD, {"compressor": ScaledSign(), "error_feedback": True}),
    "onebit": ("OneBitSGD", CompressedSGD, {"compressor": OneBit(), "error_feedback": True}),
    "qsgd": ("QSGDSGD", CompressedSGD, {"compressor": QSGD(bucket=8), "error_feedback": True}),
    "terngrad": ("TernGradSGD", CompressedSGD, {"compressor": TernGrad()}),
    "topk": ("TopKSGD", CompressedSGD, {"compressor": TopK(0.3), "error_feedback": True}),
}
_CLASSES = {base for _, cls, _ in CASES.values() for base in cls.__mro__}
for _kind in KINDS:  # a newly registered optimizer is a case by itself
    if _kind not in _CLASSES:
        CASES[_kind.__name__] = (_kind.__name__, _kind, {})

NOISY = {
    "pre": PRE,
    "post": {"dither": "post", "alpha": 0.1, "law": "uniform"},
    "zero": {"sign_of_zero": "random", "beta": 0.0},
    "rounding": {"stochastic_rounding": True},
}


def make(name, params):
    """The optimizer of a case."""
    _, cls, options = CASES[name]
    return cls(params, lr=0.01, **options)


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
        for name in CASES:
            net = nn.parallel.DistributedDataParallel(model())
            train(net, make(name, net.parameters()), batches(rank))
            found["ddp", name] = [p.detach().tolist() for p in net.parameters()]
            found["fsdp", name] = sharded(name, rank)
        for name in NOISY:
            found["blocks", name] = blocks(name)
        found["refused"] = refusal()
        queue.put((rank, found))
    finally:
        dist.destroy_process_group()


def sharded(name, rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = fully_shard(model(), mesh=init_device_mesh("cpu", (2,)))
    train(net, make(name, net.parameters()), batches(rank))
    assert all(type(p).__name__ == "DTensor" or hasattr(p, "placements") for p in net.parameters())
    return [p.detach().full_tensor().tolist() for p in net.parameters()]


def whole(options):
    """Values and gradients of parameters, large enough for several blocks of the plain step."""
    torch.manual_seed(2)
    kind = torch.bfloat16 if "stochastic_rounding" in options else torch.float32
    shapes = ((300, 502), (6, 5, 4), (3, 4), (1, 6))
    pairs = [(torch.randn(shape).to(kind), torch.randn(shape).to(kind).round()) for shape in shapes]
    return [*pairs, tuple(torch.randn(5, 8).to(kind).T for _ in range(2))]


def blocks(name):
    """True for each parameter whose shards along the second dimension make the whole's step, bit for bit."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh, options = init_device_mesh("cpu", (2,)), NOISY[name]
    out = []
    for place in (lambda x: distribute_tensor(x, mesh, [Shard(1)]), lambda x: x):
        params = []
        for value, gradient in whole(options):
            p = nn.Parameter(place(value))
            p.grad = place(gradient)
            params.append(p)
        SignSGD(params, lr=0.5, fused=False, foreach=False, **options).step()
        out.append([p.detach() for p in params])
    return [torch.equal(shards.full_tensor(), p) for shards, p in zip(*out, strict=True)]


def refusal():
    """The message of dither for a parameter of which a process has two pieces."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.placement_types import _StridedShard

    mesh = init_device_mesh("cpu", (2,))
    placements = [_StridedShard(0, split_factor=2)]
    p = nn.Parameter(DTensor.from_local(torch.ones(4), mesh, placements, run_check=False))
    p.grad = DTensor.from_local(torch.ones(4), mesh, placements, run_check=False)
    SignSGD([p], lr=0.5).step()  # no noise: fine
    try:
        SignSGD([p], lr=0.5, **PRE).step()
    except RuntimeError as error:
        return str(error)
    return None


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


def single(name):
    net = model()
    train(net, make(name, net.parameters()), batches())
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_ddp_replicas_stay_bitwise_equal(results, name):
    assert results[0]["ddp", name] == results[1]["ddp", name]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_make_the_step_of_one(results, kind, name):
    """Sums, norms and compressors are those of the whole tensors, and a shard's noise is the whole one's."""
    for found, expected in zip(results[0][kind, name], single(name), strict=True):
        torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NOISY)
def test_noise_of_shards_along_another_dimension_is_the_whole_parameters(results, name):
    assert [found["blocks", name] for found in results.values()] == [[True] * 5] * 2


def test_noise_of_a_shard_in_several_pieces_is_refused(results):
    assert "no noise for a parameter of shape (8,)" in results[0]["refused"]
