"""The state of a campaign's runs, as their files tell it while they are being written."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from sign_ablate.grid import Run
from sign_ablate.train.lock import is_running
from sign_ablate.train.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended, and when (seconds since the epoch)."""

    state: str  # done or diverged
    diverged_at_step: str
    ended: float


def outcome(folder: Path) -> Outcome | None:
    """How the run of `folder` ended; None where it has not, or its metrics cannot be read."""
    path = folder / METRICS
    try:
        return _outcome(path, path.stat().st_mtime)
    except (OSError, ValueError):
        return None


@functools.cache
def _outcome(path: Path, written: float) -> Outcome:
    metadata = pq.read_metadata(path).metadata or {}
    state = "diverged" if metadata.get(b"status") == b"diverged" else "done"
    return Outcome(state, metadata.get(b"diverged_at_step", b"").decode(), written)


def state(folder: Path) -> str:
    """done, diverged, running or missing."""
    ended = outcome(folder)
    if ended is None and is_running(folder):
        return "running"
    ended = ended or outcome(folder)  # it may have ended between the two looks
    return ended.state if ended else "missing"


def by_cell(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each cell, under its name for people."""
    cells = defaultdict(list)
    for run in runs:
        cells[cell_name(run)].append(run)
    return cells


def cell_name(run: Run) -> str:
    """The data set and the label of a run's cell."""
    return f"{run.cell.dataset}  {run.cell.label}"


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """A line per row: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
