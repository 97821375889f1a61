"""Ranks of a training job: processes on this machine, connected by torch.distributed.

The job's own process is rank 0. It holds the locks, receives the signals, writes all files, and starts a
process (`jobs.rank`) for each other rank. The other ranks ignore signals and follow rank 0; the kernel kills
them if it ends. When a rank ends, the collectives of the others fail at once on gloo, and rank 0 says which
one it was. `jobs.watch` ends a rank that the others wait for in vain.
"""

import contextlib
import dataclasses
import datetime
import enum
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from sign_ablate.distributed.agreement import require_equal
from sign_ablate.jobs import attempt
from sign_ablate.jobs.log import complain
from sign_ablate.jobs.run_lock import ADVICE, JobError
from sign_ablate.jobs.setup import Setup
from sign_ablate.jobs.watch import Arrivals, Watch
from sign_ablate.store import fingerprint

#: timeout of collectives, which also runs while the whole job is stopped; `jobs.watch` ends the job earlier
_TIMEOUT = datetime.timedelta(days=7)
#: longest wait for the end of a rank: of one whose connection is lost, and of all after the last step
_GRACE_SECONDS = 10.0


class RankError(JobError):
    """A rank ended before the run did. Not final: the run resumes from its last checkpoint."""

    final = False


class Action(enum.IntEnum):
    """Action of the ranks before a step. The highest value of all ranks counts."""

    CONTINUE = 0
    SAVE = 1
    STOP = 2


class Team:
    """The ranks of a job, from the side of one of them.

    Args:
        count: number of ranks.
        arrive: counts an arrival of this rank at a collective; called before each.
    """

    def __init__(self, count: int, arrive: Callable[[], None] = lambda: None) -> None:
        self.count, self.arrive = count, arrive

    def agreed(self, action: Action) -> Action:
        """Action of all ranks. All ranks call it together."""
        if self.count == 1:
            return action
        self.arrive()
        highest = torch.tensor(action)  # on the CPU: no rank waits for its GPU
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return Action(int(highest))


def join(setup: Setup, rank: int, folder: Path, arrive: Callable[[], None]) -> Team:
    """Connect this process to the other ranks.

    Args:
        setup: setup of the job.
        rank: rank of this process.
        folder: folder of the ranks' files.
        arrive: see `Team`.

    Raises:
        JobError: on all ranks, if a rank has another configuration, code or version of torch; if `folder` has
            no room left.
    """
    loopback = {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}
    for name in loopback:  # otherwise gloo looks up the name of the host, which need not have an address
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
    try:
        dist.init_process_group(
            "gloo" if setup.device == "cpu" else "cpu:gloo,cuda:nccl",
            store=dist.FileStore(str(folder / "store"), setup.ranks),
            rank=rank,
            world_size=setup.ranks,
            timeout=_TIMEOUT,
        )
    except dist.DistStoreError as error:
        raise JobError(f"{folder}: {error}; make room there, or set TMPDIR to another folder") from error
    code, version = fingerprint.of_training(), torch.__version__
    try:
        require_equal({"configuration": setup.spec, "code": code, "torch": version})
    except ValueError as error:
        raise JobError(str(error)) from None
    return Team(setup.ranks, arrive)


@contextlib.contextmanager
def led(setup: Setup) -> Iterator[Team]:
    """Context manager that starts the other ranks of a job and waits for their end. This process is rank 0.

    Raises:
        RankError: if another rank ends before this one does.
        JobError: like `join`.
    """
    if setup.ranks == 1:
        yield Team(1)
        return
    with tempfile.TemporaryDirectory(prefix="sign-ablate-ranks-") as name:
        folder = Path(name)
        arrivals = Arrivals(folder, setup.ranks)
        others = {rank: _start(setup, rank, folder) for rank in range(1, setup.ranks)}
        pids = {rank: process.pid for rank, process in others.items()}
        report = functools.partial(attempt.lost, Path(setup.out))
        watch = Watch(arrivals, 0, setup.rank_timeout_seconds, pids, lambda: _end(others), report)
        try:
            with watch:
                _await(others, arrivals, folder)
                yield join(setup, 0, folder, functools.partial(arrivals.add, 0))
            for process in others.values():  # the run is complete: one that is slow to end is killed
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_SECONDS)
        except RuntimeError as error:
            lost = watch.line or (None if isinstance(error, JobError) else _lost(others, folder))
            if lost is None:
                raise
            raise RankError(lost) from error
        finally:
            _end(others)
            for process in others.values():
                process.wait()
            if dist.is_initialized():
                dist.destroy_process_group()


def _end(others: dict[int, subprocess.Popen[bytes]]) -> None:
    for process in others.values():
        process.kill()


def _start(setup: Setup, rank: int, folder: Path) -> subprocess.Popen[bytes]:
    request = {"setup": dataclasses.asdict(setup), "rank": rank, "folder": str(folder), "leader": os.getpid()}
    return subprocess.Popen([sys.executable, "-m", "sign_ablate.jobs.rank", json.dumps(request)])


def error_file(folder: Path, rank: int) -> Path:
    """File into which a rank writes the error that ends it."""
    return folder / f"error.{rank}"


def _await(others: dict[int, subprocess.Popen[bytes]], arrivals: Arrivals, folder: Path) -> None:
    """Wait until all ranks are about to connect: none can connect to one that has ended."""
    arrivals.add(0)
    while not all(arrivals.counts()):
        if any(process.poll() is not None for process in others.values()):
            raise RankError(_lost(others, folder) or "a rank ended before it began")
        time.sleep(0.02)


def _lost(others: dict[int, subprocess.Popen[bytes]], folder: Path) -> str | None:
    """Sentence about the rank that ended first, None if none has. Its traceback goes to the log.

    The other ranks may end as a consequence, but no signal ends these.
    """
    end = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < end:
        ended = {rank: status for rank, process in others.items() if (status := process.poll()) is not None}
        if ended:
            time.sleep(0.1)  # of two that end together, one may be seen first
            break
        time.sleep(0.02)
    else:
        return None
    ended = {rank: status for rank, process in others.items() if (status := process.poll()) is not None}
    for rank, status in ended.items():
        if status < 0:
            hint = f"; out of memory? {ADVICE}" if status == -signal.SIGKILL else ""
            return f"rank {rank} of {len(others) + 1} was ended by {signal.Signals(-status).name}{hint}"
    written = {rank: path for rank in ended if (path := error_file(folder, rank)).exists()}
    errors = {path: rank for rank, path in written.items() if path.stat().st_size}  # 0: no room for it
    if not errors:
        rank = min(ended)
        return f"rank {rank} of {len(others) + 1} ended with status {ended[rank]}"
    first = min(errors, key=lambda path: path.stat().st_mtime_ns)
    text = first.read_text(encoding="utf-8").strip()
    complain(text)
    return f"rank {errors[first]} of {len(others) + 1} failed: {text.splitlines()[-1]}"
