"""Handling of the signals that stop a job, and forwarding of Snakemake's signals to its training jobs."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from sign_ablate.jobs import parent

#: time between two searches for jobs that were starting when the signal arrived
_POLL_SECONDS = 0.2


def stop_signals() -> list[signal.Signals]:
    """Signals on which a job writes a checkpoint and ends. SIGHUP is left out if it is ignored (nohup)."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


def pass_on_to_jobs(report: Callable[[str], None]) -> None:
    """Make this Snakemake process end on a stop signal once its training jobs have written checkpoints.

    By default, Snakemake waits on SIGTERM and SIGINT until its running jobs have finished, unless a terminal
    sends them SIGINT too, and is killed by SIGHUP, which leaves its lock behind. Must be called after
    Snakemake has installed its handler of SIGTERM. That handler is kept; it stops Snakemake from starting
    further jobs. The first SIGINT still raises KeyboardInterrupt, on which Snakemake cancels the jobs of a
    cluster; a second one would interrupt that.

    Args:
        report: called with a line for the user.
    """
    start_no_more = signal.getsignal(signal.SIGTERM)
    if not callable(start_no_more):
        return
    reader, writer = os.pipe()

    def stop() -> None:
        os.read(reader, 1)
        report("Stopping training jobs, which write their checkpoints; the next call resumes from there.")
        # Not in the signal handler: start_no_more takes a lock that the interrupted main thread may hold.
        start_no_more(signal.SIGTERM, None)
        told: set[int] = set()
        while True:
            for pid in _jobs():
                if pid not in told:
                    told.add(pid)
                    with contextlib.suppress(OSError):  # it has ended
                        os.kill(pid, signal.SIGTERM)
            time.sleep(_POLL_SECONDS)

    interrupt = signal.getsignal(signal.SIGINT)

    interrupted = False

    def received(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        os.write(writer, b"!")
        if number == signal.SIGINT and callable(interrupt) and not interrupted:
            interrupted = True
            interrupt(number, frame)

    threading.Thread(target=stop, daemon=True).start()
    for number in stop_signals():
        if number != signal.SIGINT or callable(interrupt):  # a script's shell ignores it in the background
            signal.signal(number, received)


def _jobs() -> Iterator[int]:
    """Process ids of this Snakemake's training jobs on this machine. None are found without /proc."""
    mark = f"{parent.VARIABLE}={os.getpid()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process belongs to another user, or has ended
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if {b"sign_ablate", b"train"} <= set(words) and mark in _environment(folder):
                yield int(folder.name)


def _environment(folder: Path) -> list[bytes]:
    return (folder / "environ").read_bytes().split(b"\0")
