"""A campaign that is told to end, by its time limit or its terminal, ends soon, and goes on later."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.jobs.run_lock import is_running
from sign_ablate.store.run_files import CHECKPOINT
from tests.conftest import hang_up
from tests.workflow.conftest import environment, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


#: Python, with its standard input as the terminal whose closing ends it, and whose Ctrl-C interrupts it even
#: if the tests run in the background of a script, where a shell ignores SIGINT
CONTROLLED = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """A terminal in which Snakemake runs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, inside = pty.openpty()
        os.set_blocking(self._master, False)
        with hang_up(signal.SIG_DFL):
            self.snakemake = subprocess.Popen(
                [sys.executable, "-c", CONTROLLED, "-m", "snakemake", "--cores", "1", *arguments],
                cwd=folder, env=environment(), start_new_session=True,
                stdin=inside, stdout=inside, stderr=inside,
            )  # fmt: skip
        os.close(inside)
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.snakemake.kill()  # where the test has failed; its jobs end with it
        self.snakemake.wait()
        if self._master >= 0:
            self.close()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds. What is not read from a terminal stops who writes to it."""
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, self.output
            with contextlib.suppress(BlockingIOError, OSError):
                self.output += os.read(self._master, 65536).decode(errors="replace")
            time.sleep(0.02)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        """Closed as a terminal's window is."""
        os.close(self._master)
        self._master = -1

    def ended(self) -> bool:
        return self.snakemake.poll() is not None


def says(log: Path, text: str) -> Callable[[], bool]:
    return lambda: log.exists() and text in log.read_text()


@pytest.mark.parametrize("how", ["time limit", "kill", "Ctrl-C", "closed terminal"])
def test_campaign_that_is_stopped_goes_on(how: str, config: dict[str, Any], tmp_path: Path) -> None:
    """`timeout 60 snakemake …` sends SIGTERM to Snakemake and to its jobs, `kill` to Snakemake alone."""
    config["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": 0.05, "epochs": 2},
        "adam": {"optimizer": "adam", "lr": 0.001, "epochs": 50_000},  # many minutes
    }
    config |= {"figures": {}, "seeds": [0], "execution": {"device": "cpu", "warm": how != "kill"}}
    short, long = (run.id for run in expand(parse_campaign(config)))
    repository = make(tmp_path / "repository", config)
    runs = repository.folder / "results/runs"
    log = repository.folder / f"results/tiny/logs/train/{long}.log"
    wanted = f"results/runs/{long}/metrics.parquet"
    if how == "time limit":
        repository.call(f"results/runs/{short}/metrics.parquet")
    with Terminal(repository.folder, wanted) as terminal:
        terminal.wait(says(log, "epoch 5/"))
        if how == "time limit":
            os.killpg(terminal.snakemake.pid, signal.SIGTERM)
        elif how == "kill":
            terminal.snakemake.terminate()
        elif how == "Ctrl-C":
            terminal.type("\x03")
        else:
            terminal.close()
        terminal.wait(terminal.ended)
        assert terminal.snakemake.returncode != 0
        if how == "kill":
            assert "Stopping training jobs, which write their checkpoints" in terminal.output
            assert "a checkpoint is kept" in log.read_text()  # Snakemake has waited for it
        terminal.wait(lambda: not is_running(runs / long))
    assert (runs / long / CHECKPOINT).exists()
    if how == "time limit":
        repository.call("results/tiny/partial/summary.parquet")
        partial = pq.read_table(repository.folder / "results/tiny/partial/summary.parquet").to_pylist()
        assert [(row["method"], row["n"]) for row in partial] == [("sgd", 1), ("adam", 0)]
    with Terminal(repository.folder, wanted) as again:  # no --unlock: it ended by itself
        again.wait(says(log, "goes on from step"))
        again.snakemake.terminate()
        again.wait(again.ended)
