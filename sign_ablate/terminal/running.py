"""Runs in progress: how far they are, by their logs."""

import dataclasses
import re
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.store.layout import LOCK, run_folder, train_log

#: the lines of jobs/progress.py and jobs/training.py
_EPOCH = re.compile(r"  epoch (\d+)/(\d+)  .*  test ([\d.]+%)  .*  (\d+) s left$", re.MULTILINE)
_RESUMED = re.compile(r"  goes on from step (\d+) of (\d+)$", re.MULTILINE)
#: the end of a log that is searched for them
_TAIL_BYTES = 65536


@dataclasses.dataclass(frozen=True)
class Running:
    """A run in progress. Times are seconds since the epoch; what its log does not say is None."""

    run: Run
    started: float
    epoch: int | None = None
    epochs: int | None = None
    test_acc: str | None = None
    left: float | None = None
    #: by the time that its log says is left
    per_epoch: float | None = None


def look(run: Run, results: Path, campaign: str, estimate: float | None, now: float) -> Running:
    """How far `run` is.

    Args:
        run: a run that is in progress.
        results: the results folder.
        campaign: name of the campaign whose Snakemake trains it.
        estimate: seconds that the whole of such a run takes, if that is known.
        now: seconds since the epoch.
    """
    # A trainer marks its lock when it starts, which sets the time.
    started = _modified(run_folder(results, run.id) / LOCK, now)
    log = train_log(results, campaign, run.id)
    text, age = _tail(log), now - _modified(log, now)
    if epochs := _EPOCH.findall(text):
        done, of, accuracy, said = epochs[-1]
        done, of, said = int(done), int(of), float(said)
        per_epoch = said / (of - done) if of > done else None
        # An epoch that takes longer than those before it leaves the later ones to do.
        left = max(said - age, said - (per_epoch or 0), 0.0)
        return Running(run, started, done, of, accuracy, left, per_epoch)
    if estimate is None:
        return Running(run, started)
    if resumed := _RESUMED.findall(text):
        step, of = map(int, resumed[-1])
        estimate *= 1 - step / of
    return Running(run, started, left=max(0.0, estimate - (now - started)))


def _modified(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
