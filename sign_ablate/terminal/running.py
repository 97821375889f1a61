"""Runs in progress: their epoch and the time that is left, by their `progress.json`."""

import dataclasses
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.store import progress
from sign_ablate.store.layout import LOCK


@dataclasses.dataclass(frozen=True)
class Running:
    """A run in progress. Times are seconds since 1970; what is not known yet is None."""

    run: Run
    started: float
    epoch: int | None = None
    epochs: int | None = None
    test_acc: float | None = None
    left: float | None = None
    #: mean over the epochs of this attempt
    per_epoch: float | None = None


def look(run: Run, folder: Path, estimate: float | None, now: float) -> Running:
    """The progress of `run`.

    Args:
        run: a run that is in progress.
        folder: the run's folder.
        estimate: seconds that the whole of such a run takes, if that is known.
        now: seconds since 1970.
    """
    # A trainer marks its lock when it starts, which sets the time.
    started = _modified(folder / LOCK, now)
    found = progress.read(folder)
    if found is None or not found.epochs:  # it reads its data
        return Running(run, started, left=None if estimate is None else max(0.0, estimate - (now - started)))
    left, per_epoch = None, found.seconds_per_epoch
    if per_epoch is not None:
        rest = per_epoch * (found.epochs - found.epoch)
        # An epoch that takes longer than those before it leaves the later ones to do.
        left = max(rest - (now - found.updated), rest - per_epoch, 0.0)
    elif estimate is not None:
        left = max(0.0, estimate * (1 - found.step / found.steps) - (now - started))
    return Running(run, started, found.epoch, found.epochs, found.test_acc, left, per_epoch)


def _modified(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise
