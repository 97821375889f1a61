"""The failure of a job: its cause in a line, and where its log is."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from sign_ablate.store.record import DamagedError

#: the end of a log that is searched for its last line
_TAIL_BYTES = 65536
#: less room than this on a file system is none
_FULL_BYTES = 1 << 16
_PREFIX = "sign-ablate: error: "


@dataclasses.dataclass(frozen=True)
class Failure:
    """A job's failure."""

    cause: str
    log: str
    #: stopped by a signal, with a checkpoint to go on from
    interrupted: bool = False
    #: a second attempt would end the same way
    final: bool = False


def of_job(rule: str, output: Sequence[str], logs: Sequence[str]) -> Failure:
    """The failure of a job of Snakemake's, by the last line of its log.

    Args:
        rule: name of its rule.
        output: its output files.
        logs: its log files. A notebook is none to read on a terminal.
    """
    readable = [path for path in logs if not path.endswith(".ipynb")]
    lines = {path: last_line(Path(path)) for path in readable}
    log = next((path for path, line in lines.items() if line), readable[0] if readable else "")
    return Failure(lines.get(log) or _no_line(log), log)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without our prefix; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip().removeprefix(_PREFIX) for line in reversed(lines) if line.strip()), "")


def _no_line(log: str) -> str:
    """The likely cause where a log is empty."""
    try:
        found = os.statvfs(os.path.dirname(log) or ".")
    except OSError:
        return "its log is missing"
    if found.f_bavail * found.f_frsize < _FULL_BYTES:
        return "its log is empty: no room is left there; make room, then run the same command again"
    return "its log is empty: the job was killed, or could not be started"


def block(name: str, failure: Failure) -> str:
    """The lines to show for a failure."""
    if failure.interrupted:
        return f"interrupted  {name}: {failure.cause}"
    return "\n".join([f"failed  {name}", f"  {failure.cause}", f"  log: {failure.log}"])


def result(metrics: str) -> str | None:
    """The last test accuracy of a run, or how it ended; None where that cannot be read."""
    from sign_ablate.store import reading  # imports pyarrow, which Snakemake does without until a run is done

    folder = Path(metrics).parent
    try:
        status, step = reading.end(folder)
        if status == "diverged":
            return f"diverged at step {step}"
        return f"test {reading.metrics(folder)['test_acc'][-1].as_py():.2%}"
    except (OSError, DamagedError):
        return None
