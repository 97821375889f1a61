"""A campaign whose files are made by hand, and a lock that another process holds."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.store import fingerprint, progress, run_files
from sign_ablate.store.layout import run_folder
from sign_ablate.terminal.status import status
from tests.conftest import ROOT, write_outcome

NOW = 1_700_000_000.0  # Tuesday, 14 November 2023, 22:13:20 UTC
HOLD = """
import sys
from pathlib import Path
from sign_ablate.jobs.run_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def config(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": 0.05},
        "wild": {"optimizer": "sgd", "lr": 1.0e30},
        "adam": {"optimizer": "adam", "lr": 0.001},
    }
    tiny["train"]["epochs"] = 10
    tiny["figures"] = {}
    return tiny


class Campaigner:
    """Writes the files of the campaign's runs. A run is named by its method and seed: sgd.s0."""

    def __init__(self, config: dict[str, Any], results: Path, now: float = NOW) -> None:
        self.campaign = parse_campaign(config)
        self.results, self.now = results, now
        self.runs = {f"{run.cell.method}.s{run.config.seed}": run for run in expand(self.campaign)}

    def folder(self, name: str) -> Path:
        folder = run_folder(self.results, self.runs[name].id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(
        self, name: str, ago: float, test_acc: float = 0.5, kind: str = "cpu", code: str | None = None
    ) -> None:
        """10 epochs of 9 s and 1 s, and 4 s beside: 104 s."""
        folder, run = self.folder(name), self.runs[name]
        timing = [{"epoch": n, "train_seconds": 9.0, "eval_seconds": 1.0} for n in range(1, 11)]
        rows = [{"epoch": n, "test_acc": 0.1 if n < 10 else test_acc} for n in range(1, 11)]
        environment = {"device": kind, "seconds": 104.0, "code": code or fingerprint.of_training()}
        run_files.write_text(folder / run_files.ENVIRONMENT, json.dumps(environment))
        run_files.write_table(folder / run_files.TIMING, timing, run_files.TIMING_SCHEMA)
        self._write_metrics(run, folder, rows, None, ago)

    def diverge(self, name: str, ago: float, step: int) -> None:
        folder = self.folder(name)
        run_files.write_text(folder / run_files.ENVIRONMENT, json.dumps({"code": fingerprint.of_training()}))
        self._write_metrics(self.runs[name], folder, [], step, ago)

    def _write_metrics(self, run: Run, folder: Path, rows: list[dict], step: int | None, ago: float) -> None:
        write_outcome(folder, run, rows, step)
        os.utime(folder / run_files.METRICS, (self.now - ago, self.now - ago))

    @contextlib.contextmanager
    def running(self, name: str, since: float) -> Iterator[None]:
        """Another process holds the lock."""
        folder = self.folder(name)
        command = [sys.executable, "-c", HOLD, str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"locked\n"
            os.utime(folder / run_files.LOCK, (self.now - since, self.now - since))
            try:
                yield
            finally:
                process.communicate()

    def at_epoch(self, name: str, epoch: int, ago: float = 0, **fields: Any) -> None:
        """Write progress of a run of 10 epochs, each of 10 s and 3 steps, with n % after the n-th."""
        known = {"test_acc": epoch / 100, "seconds_per_epoch": 10.0} if epoch else {}
        fields = {"epoch": epoch, "epochs": 10, "step": 3 * epoch, "steps": 30, **known, **fields}
        times = {"started": 0.0, "updated": self.now - ago}
        progress.write(self.folder(name), progress.Progress(**times, **fields))

    def fail(self, name: str, epoch: int, ago: float, failure: progress.Failure | None) -> None:
        self.at_epoch(name, epoch, ago, failure=failure)

    def hash(self, name: str) -> str:
        return self.runs[name].id[-10:]

    def status(self) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: self.now)
            return status(self.campaign, self.results).splitlines()


@pytest.fixture
def made(config: dict[str, Any], tmp_path: Path) -> Campaigner:
    return Campaigner(config, tmp_path)
