"""The state of a campaign's runs, as their files tell it while they are being written."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.jobs.run_lock import is_running
from sign_ablate.store import progress, reading
from sign_ablate.store.record import DamagedError
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, RUN, TIMING


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended, and when (seconds since the epoch)."""

    state: str  # done, diverged or damaged
    ended: float
    diverged_at_step: int | None = None
    seconds: float | None = None
    #: fingerprint of the code that made it
    code: str | None = None
    #: of a damaged run: the file, and what to do
    problem: str = ""


def outcome(folder: Path) -> Outcome | None:
    """How the run of `folder` ended; None where it has not, or its files are just being changed."""
    try:
        return _outcome(
            folder, tuple(_modified(folder / name) for name in (METRICS, RUN, TIMING, ENVIRONMENT))
        )
    except OSError:
        return None


@functools.cache
def _outcome(folder: Path, modified: tuple[float, ...]) -> Outcome:
    try:
        status, step = reading.end(folder)
        reading.timing(folder)
        environment = reading.environment(folder)
    except DamagedError as error:
        return Outcome("damaged", modified[0], problem=str(error))
    state = "diverged" if status == "diverged" else "done"
    return Outcome(state, modified[0], step, environment.seconds, environment.code)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def state(folder: Path) -> str:
    """done, diverged, damaged, running, failed, interrupted or missing."""
    ended = outcome(folder)
    if (ended is None or ended.state == "damaged") and is_running(folder):
        return "running"
    ended = ended or outcome(folder)  # it may have ended between the two looks
    if ended:
        return ended.state
    unfinished = progress.read(folder)
    if unfinished is None:
        return "missing"
    return unfinished.failure.kind if unfinished.failure else "failed"  # it was killed


def by_cell(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each cell, under its name for people."""
    cells = defaultdict(list)
    for run in runs:
        cells[cell_name(run)].append(run)
    return cells


def cell_name(run: Run) -> str:
    """The data set and the label of a run's cell."""
    return f"{run.cell.dataset}  {run.cell.label}"


def counted(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def columns(rows: list[tuple[str, ...]], left: int = 1) -> list[str]:
    """A line per row: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = [str.ljust if i < left else str.rjust for i in range(len(widths))]
    return ["  ".join(side(c, w) for side, c, w in zip(sides, row, widths, strict=True)) for row in rows]
