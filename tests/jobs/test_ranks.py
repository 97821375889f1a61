"""Runs on real ranks: the bytes of virtual workers, a stop, a killed rank, and a rank with other code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.distributed import bytes_per_step
from sign_ablate.jobs import checkpoint, team, training, watch
from sign_ablate.jobs.progress import Progress
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.jobs.setup import Setup
from sign_ablate.models import build
from sign_ablate.store import fingerprint
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, PREDICTIONS, RUN
from sign_ablate.train.workers import rule_of
from tests.train.test_workers import config

pytestmark = pytest.mark.slow

#: keys of `train`: a run of two workers, whose votes may tie, and one of three. The batches of the latter
#: have 44, 44 and 2 images, so that the last one leaves none for rank 2.
TWO: dict[str, Any] = {
    "workers": 2, "aggregation": "vote", "worker_momentum": 0.9, "worker_alpha": 1e-4, "adversaries": 0.5,
}  # fmt: skip
THREE: dict[str, Any] = {
    "workers": 3, "aggregation": "two-sided-ef", "batch_size": 44, "probe": [1], "epochs": 4,
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


def test_ranks_write_the_bytes_of_virtual_workers(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes sent, which environment.json has, are those of the formula."""
    monkeypatch.setattr(team, "_GRACE_SECONDS", 0.0)  # a rank that takes long to end costs no run
    run = run_of(**TWO)
    training.train(run.spec, file, tmp_path / "virtual", device="cpu")
    training.train(run.spec, file, tmp_path / "real", device="cpu", ranks=2)
    assert files(tmp_path / "real") == files(tmp_path / "virtual")
    rule, data = rule_of(run.config.train), read(file)
    assert rule is not None
    network = build("small", data.channels, len(data.classes), seed=0)
    found = json.loads((tmp_path / "real" / ENVIRONMENT).read_text())
    assert found["ranks"] == 2
    assert found["bytes_per_step"] == bytes_per_step(rule, [tuple(p.shape) for p in network.parameters()], 2)


def children() -> list[int]:
    """Process ids of this process's children, in the order of their start."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def train(run: Run, file: Path, out: Path, ranks: int, after_epoch: Callable[[], None]) -> None:
    """Train with a checkpoint before each step, and call `after_epoch` once after the first epoch."""
    report, calls = Progress.epoch, list[int]()

    def epoch(*arguments: Any) -> None:
        report(*arguments)
        if not calls:
            after_epoch()
        calls.append(1)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Progress, "epoch", epoch)
        training.train(run.spec, file, out, device="cpu", ranks=ranks, checkpoint_seconds=0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_stopped_and_a_killed_run_end_with_the_bytes_of_virtual_workers(file: Path, tmp_path: Path) -> None:
    """Ranks are told to stop, virtual workers as well, a rank is killed, and virtual workers go on."""
    run, out = run_of(**THREE), tmp_path / "out"

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    killed = list[float]()

    def kill() -> None:
        killed.append(time.monotonic())
        os.kill(children()[-1], signal.SIGKILL)  # the last that was started

    before = children()
    for ranks in (3, 1):
        with pytest.raises(checkpoint.Interrupted):
            train(run, file, out, ranks, stop)
    line = "rank 2 of 3 was ended by SIGKILL; out of memory? Run fewer jobs at a time (--cores)"
    with pytest.raises(JobError, match=f"^{re.escape(line)}$") as lost:
        train(run, file, out, 3, kill)
    assert time.monotonic() - killed[0] < 60  # not of their start, slow on a busy machine
    assert not lost.value.final
    assert children() == before
    training.train(run.spec, file, out, device="cpu")
    training.train(run.spec, file, tmp_path / "undisturbed", device="cpu")
    assert files(out) == files(tmp_path / "undisturbed")


def test_rank_with_other_code_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "of_training", lambda: "edited")
    with pytest.raises(
        JobError, match=r"^rank 1 has code \w{12}, rank 0 has edited; all ranks need the same$"
    ):
        training.train(run_of(workers=2).spec, file, tmp_path / "out", device="cpu", ranks=2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_rank_that_hangs_ends_the_job_and_the_rerun_has_the_same_bytes(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout is shortened after the first epoch only: on a busy machine, ranks take seconds to start."""
    run, out, watches, before = run_of(**TWO), tmp_path / "out", list[watch.Watch](), children()
    monkeypatch.setattr(team, "Watch", lambda *a: watches.append(watch.Watch(*a)) or watches[0])

    def hang() -> None:
        os.kill(children()[-1], signal.SIGSTOP)
        watches[0].seconds = 0.5

    line = "rank 1 of 2 did not arrive for 0.5 s (stopped by a signal)"
    with pytest.raises(JobError, match=f"^{re.escape(line)}$") as lost:
        train(run, file, out, 2, hang)
    assert not lost.value.final
    assert children() == before
    training.train(run.spec, file, out, device="cpu")
    training.train(run.spec, file, tmp_path / "undisturbed", device="cpu")
    assert files(out) == files(tmp_path / "undisturbed")


def test_full_temporary_folder_is_named(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise team.dist.DistStoreError("No space left on device")

    monkeypatch.setattr(team.dist, "FileStore", full)
    setup = Setup(run_of(**TWO).spec, str(file), str(tmp_path), "cpu", ranks=2)
    line = f"{tmp_path}: No space left on device; make room there, or set TMPDIR to another folder"
    with pytest.raises(JobError, match=f"^{re.escape(line)}$"):
        team.join(setup, 0, tmp_path, lambda: None)


def test_rank_that_had_no_room_for_its_error(tmp_path: Path) -> None:
    team.error_file(tmp_path, 1).touch()
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"]) as process:
        assert team._lost({1: process}, tmp_path) == "rank 1 of 2 ended with status 1"
