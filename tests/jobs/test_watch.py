"""Watch over the ranks of a job: which rank ends it, which ranks are named, and the time that counts."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sign_ablate.jobs import attempt, watch
from sign_ablate.jobs.watch import Arrivals, Watch, is_stopped
from sign_ablate.store import progress

ADVICE = "(if it is only slow, raise execution.rank_timeout_seconds)"


def arrivals(folder: Path, *counts: int) -> Arrivals:
    found = Arrivals(folder, len(counts))
    for rank, count in enumerate(counts):
        for _ in range(count):
            found.add(rank)
    return found


@pytest.fixture
def stopped() -> Iterator[int]:
    """Process id of a process that a signal has stopped."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        while not is_stopped(process.pid):
            time.sleep(0.01)
        yield process.pid
        process.kill()


def line(folder: Path, rank: int, counts: list[int], pids: dict[int, int]) -> str | None:
    """What a rank says after its timeout; None if it leaves the end of the job to another rank."""
    ended, reported = threading.Event(), list[str | None]()
    with Watch(arrivals(folder, *counts), rank, 0.1, pids, ended.set, reported.append) as found:
        assert ended.wait(0.4 if rank else 2) == (found.line is not None)
    assert reported == ([found.line] if rank and found.line else [])  # rank 0 raises it
    return found.line


def test_ranks_see_the_arrivals_of_all(tmp_path: Path) -> None:
    first, second = arrivals(tmp_path, 0, 2), Arrivals(tmp_path, 2)
    first.add(0)
    assert second.counts() == [1, 2]


@pytest.mark.parametrize(
    ("rank", "counts", "names"),
    [
        (0, [3, 2], "rank 1 of 2"),
        (0, [3, 2, 3, 2], "ranks 1, 3 of 4"),
        (1, [2, 3, 3], "rank 0 of 3"),  # the first of those that wait
        (2, [2, 3, 3], None),
        (2, [2, 2, 3], "ranks 0, 1 of 3"),
        (0, [3, 3], "ranks 0, 1 of 2"),
        (1, [3, 3], None),
    ],
)
def test_the_first_rank_that_waits_names_those_that_did_not_arrive(
    rank: int, counts: list[int], names: str | None, tmp_path: Path
) -> None:
    expected = None if names is None else f"{names} did not arrive for 0.1 s {ADVICE}"
    assert line(tmp_path, rank, counts, {}) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("counts", [[3, 3, 3], [4, 3, 3]], ids=str)
def test_a_stopped_rank_is_named_rather_than_those_that_wait_for_it(
    counts: list[int], stopped: int, tmp_path: Path
) -> None:
    pids = {1: os.getpid(), 2: stopped}
    assert line(tmp_path, 0, counts, pids) == "rank 2 of 3 did not arrive for 0.1 s (stopped by a signal)"


def test_the_end_of_rank_0_is_a_failure_that_may_be_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Otherwise Snakemake's line would guess that memory ran out."""
    attempt.Attempt(tmp_path)
    attempt.lost(tmp_path, "rank 0 hangs")
    assert capfd.readouterr().err == "sign-ablate: error: rank 0 hangs\n"
    found = progress.read(tmp_path)
    assert found is not None
    assert found.failure == progress.Failure(kind="failed", cause="rank 0 hangs")
    assert attempt.repeated(tmp_path) is None


def test_a_job_goes_on_while_any_rank_arrives(tmp_path: Path) -> None:
    found, ended = arrivals(tmp_path, 1, 1), threading.Event()
    with Watch(found, 0, 0.5, {}, ended.set, print):
        for _ in range(7):
            found.add(1)
            assert not ended.wait(0.1)


def test_time_for_which_the_whole_job_is_stopped_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the clock, an hour passes. Five looks of half a second each are not yet 3 s."""
    clock, looks = itertools.count(0, 3600), list[int]()
    monkeypatch.setattr(watch.time, "monotonic", lambda: looks.append(1) or float(next(clock)))
    found = Watch(arrivals(tmp_path, 1, 1), 0, 3.0, {}, lambda: None, print)
    monkeypatch.setattr(found._left, "wait", lambda pause: len(looks) > 5)
    found._run()
    assert found.line is None


def test_rank_0_leaves_a_call_that_does_not_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a kernel of NCCL. The line comes from the thread."""
    left, reported = threading.Event(), list[str]()
    monkeypatch.setattr(watch, "_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(os, "_exit", lambda status: left.set() if status == 1 else None)
    with Watch(arrivals(tmp_path, 2, 1), 0, 0.1, {}, lambda: None, reported.append):
        assert left.wait(2)
    assert reported == [f"rank 1 of 2 did not arrive for 0.1 s {ADVICE}"]
