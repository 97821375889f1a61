"""Hooks and training jobs on NCCL ranks, one per GPU (`make test-gpu`): the bits of one process."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from sign_ablate.data.prepare import prepare
from sign_ablate.distributed import bytes_per_step, register
from sign_ablate.jobs import device, training
from sign_ablate.store.run_files import METRICS, PREDICTIONS
from tests.distributed.test_hooks import SEED, STEPS, Net, ddp, resumed, single, spawn, train
from tests.distributed.test_rules import RULES
from tests.jobs.test_ranks import run_of

GPUS = min(device.gpu_count(), 4)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(GPUS == 0, reason="needs a CUDA device")]


def worker(rank: int, workers: int, folder: Path) -> None:
    where = f"cuda:{rank}"
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    found: dict[Any, Any] = {}
    try:
        for name, rule in RULES.items():
            net = ddp(device=where)
            state = register(net, rule, seed=SEED)
            found[name, "whole"] = train(net, rank, range(STEPS))
            found[name, "bytes"] = state.bytes_sent
            found[name, "resumed"] = resumed(rule, rank, where)
        (folder / str(rank)).write_bytes(pickle.dumps(found))
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """Findings of all ranks, by rank. A single GPU has one rank, which exchanges with itself."""
    return spawn(worker, GPUS, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", RULES)
def test_ranks_give_the_bits_of_one_process(ranks: list[dict[Any, Any]], name: str) -> None:
    expected = single(RULES[name], GPUS, device="cuda")
    sent = STEPS * bytes_per_step(RULES[name], [tuple(p.shape) for p in Net().parameters()], GPUS)
    for found in ranks:
        assert found[name, "whole"] == expected
        assert found[name, "resumed"] == expected
        assert found[name, "bytes"] == sent


@pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
def test_a_run_on_ranks_has_the_bytes_of_virtual_workers(tmp_path: Path) -> None:
    run = run_of(workers=2, aggregation="vote", worker_momentum=0.9)
    prepare(run.config.data, tmp_path / "data")
    for name, number in (("virtual", 1), ("real", 2)):
        training.train(
            run.spec, tmp_path / "data", tmp_path / name, device="cuda", deterministic=True, ranks=number
        )
    for file in (METRICS, PREDICTIONS):
        assert (tmp_path / "real" / file).read_bytes() == (tmp_path / "virtual" / file).read_bytes()
