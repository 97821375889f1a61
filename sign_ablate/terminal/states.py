"""States of runs, read from their files, which may be written to at the same time."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.jobs.run_lock import is_running
from sign_ablate.store import progress, reading
from sign_ablate.store.record import DIGESTS, DamagedError
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, RUN, TIMING

#: files that determine an outcome; the time of the first is the time of the end
_FILES = (METRICS, RUN, *DIGESTS, TIMING, ENVIRONMENT)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """End of a run."""

    state: str  # done, diverged or damaged
    #: time of the end, in seconds since 1970
    ended: float
    diverged_at_step: int | None = None
    #: duration of the run
    seconds: float | None = None
    #: fingerprint of the code that made it
    code: str | None = None
    #: for each damaged file, a message that says what to do
    problems: tuple[str, ...] = ()


def outcome(folder: Path) -> Outcome | None:
    """End of the run in `folder`, or None if it has not ended or its files are being changed."""
    try:
        return _outcome(folder, tuple(_modified(folder / name) for name in _FILES))
    except OSError:
        return None


@functools.cache
def _outcome(folder: Path, modified: tuple[float, ...]) -> Outcome:
    try:
        status, step = reading.end(folder)
    except DamagedError as error:
        return Outcome("damaged", modified[0], problems=(str(error),))
    _, environment, damaged = reading.execution(folder)
    state = "diverged" if status == "diverged" else "done"
    problems = tuple(map(str, damaged))
    return Outcome(state, modified[0], step, environment.seconds, environment.code, problems)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def state(folder: Path) -> str:
    """State of the run in `folder`: done, diverged, damaged, running, failed, interrupted or missing."""
    ended = outcome(folder)
    if (ended is None or ended.state == "damaged") and is_running(folder):
        return "running"
    ended = ended or outcome(folder)  # it may have ended between the two checks
    if ended:
        return ended.state
    unfinished = progress.read(folder)
    if unfinished is None:
        return "missing"
    return unfinished.failure.kind if unfinished.failure else "failed"  # no record of the end: it was killed


def by_cell(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by cell, under the name of the cell (`cell_name`)."""
    cells = defaultdict(list)
    for run in runs:
        cells[cell_name(run)].append(run)
    return cells


def cell_name(run: Run) -> str:
    """Name of a run's cell: data set and label. Trials are a cell of their own."""
    return f"{run.cell.dataset}  {run.cell.label}{'' if run.trial is None else '  (tuning)'}"


def counted(n: int, noun: str) -> str:
    """Format a count with its noun, such as `1 run` or `2 runs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def columns(rows: list[tuple[str, ...]], left: int = 1) -> list[str]:
    """Format rows as aligned lines: the first `left` columns are left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = [str.ljust if i < left else str.rjust for i in range(len(widths))]
    return ["  ".join(side(c, w) for side, c, w in zip(sides, row, widths, strict=True)) for row in rows]
