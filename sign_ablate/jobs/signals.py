"""Signals that stop work: which ones a job hears, and Snakemake's, which its training jobs hear too."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sign_ablate.jobs import parent

#: between two looks for jobs that were being started
_POLL_SECONDS = 0.2


def stop_signals() -> list[signal.Signals]:
    """The signals on which a job writes its checkpoint and ends. Under nohup, SIGHUP is none of them."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


def pass_on_to_jobs(report: Callable[[str], None]) -> None:
    """Have this Snakemake end on SIGTERM and SIGHUP as soon as its training jobs have written checkpoints.

    Snakemake by itself waits on SIGTERM for the jobs that run, to their end; SIGHUP kills it, and leaves its
    lock. Called where Snakemake has its own handler of SIGTERM, which is kept: it starts no more jobs.

    Args:
        report: called with a line for the user.
    """
    start_no_more = signal.getsignal(signal.SIGTERM)
    if not callable(start_no_more):
        return
    reader, writer = os.pipe()

    def stop() -> None:
        os.read(reader, 1)
        report("Training jobs are told to write their checkpoints and end; the next call goes on from there.")
        # Not in the handler: it takes a lock, which the main thread may hold where the signal meets it.
        start_no_more(signal.SIGTERM, None)
        told: set[int] = set()
        while True:
            for pid in _jobs():
                if pid not in told:
                    told.add(pid)
                    with contextlib.suppress(OSError):  # it has ended
                        os.kill(pid, signal.SIGTERM)
            time.sleep(_POLL_SECONDS)

    threading.Thread(target=stop, daemon=True).start()
    for number in stop_signals():
        if number != signal.SIGINT:  # a terminal sends it to the jobs as well
            signal.signal(number, lambda *_: os.write(writer, b"!"))


def _jobs() -> Iterator[int]:
    """The training jobs of this Snakemake on this machine; none where there is no /proc."""
    mark = f"{parent.VARIABLE}={os.getpid()}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # of somebody else, or ended
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if {b"sign_ablate", b"train"} <= set(words) and mark in _environment(folder):
                yield int(folder.name)


def _environment(folder: Path) -> list[bytes]:
    return (folder / "environ").read_bytes().split(b"\0")
