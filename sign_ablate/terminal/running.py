"""Runs in progress: their epoch and remaining time, from `progress.json`."""

import dataclasses
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.store import progress
from sign_ablate.store.layout import LOCK


@dataclasses.dataclass(frozen=True)
class Running:
    """A run in progress. A value that is not known yet is None."""

    run: Run
    #: start, in seconds since 1970
    started: float
    epoch: int | None = None
    epochs: int | None = None
    test_acc: float | None = None
    #: estimated seconds until it ends
    left: float | None = None
    #: mean seconds per epoch of this attempt
    per_epoch: float | None = None


def look(run: Run, folder: Path, estimate: float | None, now: float) -> Running:
    """Read the progress of a run and estimate its remaining time.

    Args:
        run: a run in progress.
        folder: the run's folder.
        estimate: estimated seconds of the whole run, if known.
        now: seconds since 1970.
    """
    # A trainer writes to its lock file when it starts, which sets the file's time.
    started = _modified(folder / LOCK, now)
    found = progress.read(folder)
    if found is None or not found.epochs:  # training has not begun: the job is still reading its data
        return Running(run, started, left=None if estimate is None else max(0.0, estimate - (now - started)))
    left, per_epoch = None, found.seconds_per_epoch
    if per_epoch is not None:
        rest = per_epoch * (found.epochs - found.epoch)
        # If the current epoch takes longer than the mean, the epochs after it remain.
        left = max(rest - (now - found.updated), rest - per_epoch, 0.0)
    elif estimate is not None:
        left = max(0.0, estimate * (1 - found.step / found.steps) - (now - started))
    return Running(run, started, found.epoch, found.epochs, found.test_acc, left, per_epoch)


def _modified(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise
