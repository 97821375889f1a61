"""Watch over the ranks of a job: ranks that keep the others waiting for too long end it.

Each rank counts its arrivals at collectives in memory that all ranks share, and has a thread that reads the
counts of all. The thread runs while its rank waits in a collective, of gloo or NCCL, and needs no message
from the rank that is missing.
"""

import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from sign_ablate.files import replacing

#: longest time from the end of the other ranks to the error that it causes in the collective of rank 0
_GRACE_SECONDS = 10.0


class Arrivals:
    """Number of collectives that each rank has arrived at, in a file that all ranks map into memory.

    Args:
        folder: folder of the file.
        count: number of ranks.
    """

    def __init__(self, folder: Path, count: int) -> None:
        path = folder / "arrivals"
        if not path.exists():
            with replacing(path) as new:  # written whole: in a hole, a full disk would end the rank by SIGBUS
                new.write_bytes(bytes(8 * count))
        file = os.open(path, os.O_RDWR)
        self._counts = memoryview(mmap.mmap(file, 8 * count)).cast("q")
        os.close(file)

    def add(self, rank: int) -> None:
        """Count an arrival of a rank."""
        self._counts[rank] += 1

    def counts(self) -> list[int]:
        """Number of arrivals of each rank."""
        return self._counts.tolist()


class Watch:
    """Thread of a rank that ends the job if no rank arrives at a collective for too long.

    The message names the ranks that a signal has stopped, or else those that have arrived less often than
    others, or else all. The first rank that is not among them ends the job, or rank 0 if there is none. Time
    counts only while this process runs, so a job may be stopped as a whole, for example by Ctrl-Z.

    Args:
        arrivals: the arrivals of all ranks.
        rank: rank of this process.
        seconds: the longest time without an arrival.
        pids: process ids of the other ranks, or of some of them.
        end: ends the other ranks on rank 0, and rank 0 on the others.
        report: called with the message if rank 0 cannot raise it as an error.

    Attributes:
        line: sentence about the ranks that did not arrive; None as long as the job goes on.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        rank: int,
        seconds: float,
        pids: Mapping[int, int],
        end: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        self.seconds = seconds
        self.line: str | None = None
        self._arrivals, self._rank, self._pids = arrivals, rank, pids
        self._end, self._report = end, report
        self._left = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def _run(self) -> None:
        seen, silent, before = list[int](), 0.0, time.monotonic()
        while not self._left.wait(pause := min(1.0, self.seconds / 10)):
            now, counts = time.monotonic(), self._arrivals.counts()
            silent = silent + min(now - before, 2 * pause) if counts == seen else 0.0
            seen, before = counts, now
            if silent >= self.seconds:
                self._decide(counts)
                return

    def _decide(self, counts: list[int]) -> None:
        everyone = set(range(len(counts)))
        stopped = {rank for rank, pid in self._pids.items() if is_stopped(pid)}
        late = stopped or {rank for rank in everyone if counts[rank] < max(counts)} or everyone
        if self._rank != min(everyone - late, default=0):
            return
        names = f"rank{'s' * (len(late) > 1)} {', '.join(map(str, sorted(late)))} of {len(counts)}"
        why = "stopped by a signal" if stopped else "if it is only slow, raise execution.rank_timeout_seconds"
        self.line = f"{names} did not arrive for {self.seconds:g} s ({why})"
        if self._rank:
            self._report(self.line)
            self._end()
            return
        self._end()
        if not self._left.wait(_GRACE_SECONDS):  # this rank is stuck in a collective
            self._report(self.line)
            os._exit(1)


def is_stopped(pid: int) -> bool:
    """Return True if a signal has stopped the process. False where there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in {"T", "t"}
