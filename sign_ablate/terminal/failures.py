"""Failures of jobs: the cause in one line, and the path of the log."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from sign_ablate.jobs.run_lock import ADVICE
from sign_ablate.store import progress
from sign_ablate.store.layout import CHECKPOINT
from sign_ablate.store.record import DamagedError

#: number of bytes at the end of a log that are searched for its last line
_TAIL_BYTES = 65536
#: a file system with less free space than this counts as full
_FULL_BYTES = 1 << 16
NO_ROOM = "no room is left on the disk of results/; make room, then run the same command again"
#: tolerated clock difference between the machine of a job and the machine of Snakemake
CLOCKS_DIFFER_SECONDS = 5.0
_PREFIX = "sign-ablate: error: "


@dataclasses.dataclass(frozen=True)
class Failure:
    """A job's failure."""

    cause: str
    log: str
    #: True if a signal stopped the job
    interrupted: bool = False
    #: True if a second attempt would fail in the same way
    final: bool = False


def of_job(rule: str, output: Sequence[str], logs: Sequence[str], since: float) -> Failure:
    """Failure of a Snakemake job, from the run's `progress.json` or else from the last line of the job's log.

    Args:
        rule: name of the job's rule.
        output: the job's output files.
        logs: the job's log files. Notebooks are ignored.
        since: start of the job, in seconds since 1970. An older `progress.json` is of an earlier attempt.
    """
    if rule == "train":
        folder = Path(output[0]).parent
        found = progress.read(folder)
        if found is not None and found.updated >= since - CLOCKS_DIFFER_SECONDS:
            return of_run(folder, found, logs[0] if logs else "")
    readable = [path for path in logs if not path.endswith(".ipynb")]
    lines = {path: last_line(Path(path)) for path in readable}
    log = next((path for path, line in lines.items() if line), readable[0] if readable else "")
    line = lines.get(log) or _no_line(log)
    if "KeyboardInterrupt" in line or line.rstrip("!.") == "Aborted":  # from a notebook, and from typer
        return Failure("stopped by Ctrl-C; the next call makes it again", log, interrupted=True)
    return Failure(line, log)


def of_run(folder: Path, found: progress.Progress, log: str) -> Failure:
    """Failure of a run that is neither finished nor running.

    Args:
        folder: the run's folder.
        found: content of its `progress.json`.
        log: path of the run's log.
    """
    end = found.failure
    if end is None and _is_full(folder):
        return Failure(NO_ROOM, log)
    cause = end.cause if end else f"killed; out of memory? {ADVICE}"
    if found.epochs:
        cause += f" (after epoch {found.epoch} of {found.epochs})"
    interrupted = end is not None and end.kind == "interrupted"
    if (folder / CHECKPOINT).exists():
        cause += "; the next call goes on from its checkpoint"
    elif interrupted:
        cause += "; the next call starts over"
    return Failure(cause, log, interrupted, end is not None and end.final)


def last_line(log: Path) -> str:
    """Last line of a log that is not blank, without our error prefix. Empty if there is no such line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip().removeprefix(_PREFIX) for line in reversed(lines) if line.strip()), "")


def _no_line(log: str) -> str:
    """Likely cause of a failure whose log is empty."""
    if _is_full(Path(log).parent):
        return NO_ROOM
    return "its log is empty: the job was killed, or could not be started"


def _is_full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _FULL_BYTES


def block(name: str, failure: Failure) -> str:
    """Format a failure as the lines to print for it."""
    kind = "interrupted" if failure.interrupted else "failed"
    return "\n".join([f"{kind}  {name}", f"  {failure.cause}", f"  log: {failure.log}"])


def result(metrics: str) -> str | None:
    """Format the result of a run: its last test accuracy, or its divergence. None if it cannot be read.

    Args:
        metrics: path of the run's `metrics.parquet`.
    """
    from sign_ablate.jobs.progress import accuracy
    from sign_ablate.store import reading  # imports pyarrow; Snakemake needs it only once a run is finished

    folder = Path(metrics).parent
    try:
        status, step = reading.end(folder)
        if status == "diverged":
            return f"diverged at step {step}"
        return accuracy(reading.last_row(reading.metrics(folder)))
    except (OSError, DamagedError):
        return None
