"""Tests that need a CUDA device (`make test-gpu`). Each job is a process: CUDA starts once in each."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.jobs import device
from sign_ablate.store.run_files import METRICS
from tests.conftest import ROOT, TINY

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(device.gpu_count() == 0, reason="needs a CUDA device")]

#: torch is imported first, as in the warm process; then claim, and see what CUDA shows
CLAIM = """
import os, torch
from sign_ablate.jobs.gpu import claim
assert not torch.cuda.is_initialized()
print(claim("cuda"), torch.cuda.device_count(), os.environ["CUDA_VISIBLE_DEVICES"],
      torch.cuda.get_device_properties(0).uuid, flush=True)
input()
"""


def test_jobs_side_by_side_train_on_devices_of_their_own(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    jobs = [
        subprocess.Popen([sys.executable, "-c", CLAIM], env=environment, stdin=pipe, stdout=pipe, text=True)
        for _ in range(device.gpu_count())
    ]
    lines = [job.stdout.readline().split() for job in jobs if job.stdout]
    for job in jobs:
        job.communicate("\n")
    assert [line[:2] for line in lines] == [["cuda", "1"]] * len(jobs)
    assert len({line[3] for line in lines}) == len(jobs)


def _runs() -> list[Run]:
    config: dict[str, Any] = {**TINY, "seeds": [0]}
    config["train"] = {**TINY["train"], "precision": "bfloat16", "crop_padding": 1, "flip": True}
    config["methods"] = {**TINY["methods"], "resnet": {"optimizer": "hybrid", "lr": 0.001, "t_switch": 1}}
    config["methods"]["resnet"]["model"] = "resnet18"
    return expand(parse_campaign(config))


def _train(run: Run, data: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec, "--device", "cuda"]
    subprocess.run([*command, "--data", str(data), "--out", str(out), *options], check=True)
    return out / METRICS


@pytest.mark.parametrize("run", _runs(), ids=lambda run: run.cell.label)
def test_deterministic_runs_are_bitwise_equal(run: Run, tmp_path: Path) -> None:
    prepare(run.config.data, tmp_path / "data")
    first, second = (
        _train(run, tmp_path / "data", tmp_path / name, "--deterministic", "1")
        for name in ("first", "second")
    )
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
@pytest.mark.parametrize("label", ["sgd", "resnet"])
def test_compiled_runs_are_eager_ones_but_for_rounding(label: str, mode: str, tmp_path: Path) -> None:
    run = next(run for run in _runs() if run.cell.label == label)
    prepare(run.config.data, tmp_path / "data")
    eager, compiled = (
        pq.read_table(_train(run, tmp_path / "data", tmp_path / name, "--compile", name)).to_pydict()
        for name in ("none", mode)
    )
    assert compiled["train_loss"][0] == pytest.approx(eager["train_loss"][0], rel=0.05)
    assert compiled["step"] == eager["step"]
    assert compiled["train_loss"][-1] == pytest.approx(eager["train_loss"][-1], rel=0.2)  # of replayed steps
