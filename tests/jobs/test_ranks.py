"""Runs on real ranks: the bytes of virtual workers, a stop, a killed rank, and a rank with other code."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.distributed import bytes_per_step
from sign_ablate.jobs import training
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.models import build
from sign_ablate.store import fingerprint, progress
from sign_ablate.store.run_files import CHECKPOINT, ENVIRONMENT, METRICS, PREDICTIONS, RUN
from sign_ablate.train.workers import rule_of
from tests.jobs.test_warm import wait_until
from tests.train.test_workers import config

pytestmark = pytest.mark.slow

#: keys of `train`
CASES: dict[str, dict[str, Any]] = {
    "ties, dither, an adversary": {
        "workers": 2, "aggregation": "vote", "worker_momentum": 0.9, "worker_alpha": 1e-4, "adversaries": 0.5,
    },
    # in batches of 44, 44 and 2 images, so the last one leaves none for rank 2
    "unequal shares, errors of the servers": {
        "workers": 3, "aggregation": "two-sided-ef", "batch_size": 44, "probe": [1],
    },
}  # fmt: skip


def run_of(**train: Any) -> Run:
    (run,) = expand(parse_campaign(config(**train)))
    return run


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(run_of().config.data, path)
    return path


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in (METRICS, RUN, PREDICTIONS)}


@pytest.mark.parametrize("case", CASES)
def test_ranks_write_the_bytes_of_virtual_workers(case: str, file: Path, tmp_path: Path) -> None:
    """Also the bytes sent, which environment.json has, are those of the formula."""
    run = run_of(**CASES[case])
    train = run.config.train
    training.train(run.spec, file, tmp_path / "virtual", device="cpu")
    training.train(run.spec, file, tmp_path / "real", device="cpu", ranks=train.workers)
    assert files(tmp_path / "real") == files(tmp_path / "virtual")
    rule, data = rule_of(train), read(file)
    assert rule is not None
    network = build("small", data.channels, len(data.classes), seed=0)
    sent = bytes_per_step(rule, [tuple(p.shape) for p in network.parameters()], train.workers)
    found = json.loads((tmp_path / "real" / ENVIRONMENT).read_text())
    assert found["ranks"] == train.workers
    assert found["bytes_per_step"] == sent


class Job:
    """`sign-ablate train` in a process of its own."""

    def __init__(self, run: Run, file: Path, out: Path, ranks: int) -> None:
        seconds = 60 if ranks == 1 else 0  # a checkpoint before each step
        options = {"spec": run.spec, "data": file, "out": out, "ranks": ranks, "checkpoint-seconds": seconds}
        command = [sys.executable, "-m", "sign_ablate", "train"]
        command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def others(self) -> list[int]:
        """Process ids of the ranks above 0."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=100)
        return self.process.returncode, out, err


@contextlib.contextmanager
def job(run: Run, file: Path, out: Path, ranks: int) -> Iterator[Job]:
    started = Job(run, file, out, ranks)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stopped_killed_and_finished_in_one_process_with_the_same_bytes(file: Path, tmp_path: Path) -> None:
    """Ranks that go on, and then virtual workers that go on from the ranks' checkpoint."""
    run, out = run_of(**CASES["unequal shares, errors of the servers"], epochs=30), tmp_path / "out"
    with job(run, file, out, 3) as stopped:
        wait_until((out / CHECKPOINT).exists)
        stopped.process.send_signal(signal.SIGTERM)
        others = stopped.others()
        status, text, _ = stopped.end()
    assert status == 128 + signal.SIGTERM
    assert text.splitlines()[-1].startswith("stopped by SIGTERM; a checkpoint is kept")
    assert len(others) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
    saved = (out / CHECKPOINT).stat().st_mtime_ns
    with job(run, file, out, 3) as killed:
        wait_until(lambda: (out / CHECKPOINT).stat().st_mtime_ns > saved)
        others = killed.others()
        os.kill(others[1], signal.SIGKILL)
        start = time.monotonic()
        status, text, error = killed.end()
    assert time.monotonic() - start < 20
    line = "rank 2 of 3 was ended by SIGKILL; out of memory? Run fewer jobs at a time (--cores); "
    assert error == f"sign-ablate: error: {line}the run goes on from its last checkpoint\n"
    assert status == 1
    assert "goes on from step" in text
    found = progress.read(out)
    assert found is not None
    assert found.failure is not None
    assert not found.failure.final
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
    with job(run, file, out, 1) as last:
        status, text, _ = last.end()
    assert status == 0
    assert "goes on from step" in text
    training.train(run.spec, file, tmp_path / "undisturbed", device="cpu")
    assert files(out) == files(tmp_path / "undisturbed")


def test_rank_with_other_code_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "of_training", lambda: "edited")
    with pytest.raises(
        JobError, match=r"^rank 1 has code \w{12}, rank 0 has edited; all ranks need the same$"
    ):
        training.train(run_of(workers=2).spec, file, tmp_path / "out", device="cpu", ranks=2)
