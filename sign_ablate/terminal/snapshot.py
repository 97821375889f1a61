"""A campaign at one moment: the states of its runs, how far those in progress are, the time that is left."""

import dataclasses
import itertools
import math
import statistics
import time
from pathlib import Path

from sign_ablate.campaign.grid import Run
from sign_ablate.config.campaign import Campaign
from sign_ablate.jobs import device
from sign_ablate.store import progress
from sign_ablate.store.layout import run_folder, train_log
from sign_ablate.terminal import estimate, failures
from sign_ablate.terminal.estimate import Measured
from sign_ablate.terminal.failures import Failure
from sign_ablate.terminal.running import Running, look
from sign_ablate.terminal.states import Outcome, by_cell, outcome, state

#: runs that ended longer ago say nothing of how many go side by side now
_RECENT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What `take` found. Times are seconds."""

    now: float
    #: run id → done, diverged, damaged, running, failed, interrupted or missing
    states: dict[str, str]
    running: list[Running]
    #: those that are done or diverged, the newest first
    ended: list[tuple[Run, Outcome]]
    #: the file of each damaged run, and what to do
    damaged: list[str]
    #: those that failed or were interrupted, the latest first
    stopped: list[tuple[Run, Failure]]
    #: until the last run ends, those without an estimate not counted
    left: float
    without_estimate: int
    at_once: int

    @property
    def over(self) -> bool:
        """Whether all runs are done."""
        return len(self.ended) == len(self.states)


def take(campaign: Campaign, runs: list[Run], results: Path) -> Snapshot:
    """Look at the files of the campaign's `runs` below `results`."""
    now, kind = time.time(), device.resolve(campaign.execution.device)
    folders = {run.id: run_folder(results, run.id) for run in runs}
    states = {run.id: state(folders[run.id]) for run in runs}
    over = [run for run in runs if states[run.id] in {"done", "diverged", "damaged"}]
    found = [(run, end) for run in over if (end := outcome(folders[run.id])) is not None]
    damaged = [end.problem for _, end in found if end.problem]
    ended = [(run, end) for run, end in found if not end.problem]
    ended.sort(key=lambda pair: pair[1].ended, reverse=True)
    todo = [run for run in runs if states[run.id] not in {"done", "diverged"}]
    at_work = [run for run in todo if states[run.id] == "running"]
    each = _estimates(todo, kind, estimate.measured(results) if todo else [])
    running = [look(run, folders[run.id], each[run.id], now) for run in at_work]
    if None in each.values():  # no run like it was ever done: the epochs of those in progress tell
        guessed = _estimates(todo, kind, _begun(running, kind))
        each = {run: guessed[run] if known is None else known for run, known in each.items()}
        running = [look(run, folders[run.id], each[run.id], now) for run in at_work]
    missing = [each[run.id] for run in todo if states[run.id] != "running"]
    idle = [run for run in todo if states[run.id] in {"failed", "interrupted"}]
    stopped = _stopped(idle, results, campaign.campaign)
    at_once, gap = _pace(running, ended, now)
    at_once = at_once or estimate.at_a_time(campaign, kind)
    # Those in progress come first: they wait for nobody.
    seconds = [r.left or 0.0 for r in running] + [gap + (known or 0.0) for known in missing]
    unknown = [r.left for r in running].count(None) + missing.count(None)
    left = max(estimate.ends(seconds, at_once), default=0.0)
    return Snapshot(now, states, running, ended, damaged, stopped, left, unknown, at_once)


def _stopped(runs: list[Run], results: Path, campaign: str) -> list[tuple[Run, Failure]]:
    """The failures of runs that are not done, the latest first."""
    found = []
    for run in runs:
        folder = run_folder(results, run.id)
        end = progress.read(folder)
        if end is not None:  # not started again a moment ago
            log = train_log(results, campaign, run.id)
            found.append((end.updated, run, failures.of_run(folder, end, str(log))))
    found.sort(key=lambda triple: triple[0], reverse=True)
    return [(run, failure) for _, run, failure in found]


def _estimates(runs: list[Run], kind: str, past: list[Measured]) -> dict[str, float | None]:
    """Seconds of each run, by its id. Those of one cell differ by their seed alone, and take the same."""
    return {
        run.id: seconds
        for members in by_cell(runs).values()
        for seconds in [estimate.seconds(members[0].config.model_dump(mode="json"), kind, past)]
        for run in members
    }


def _begun(running: list[Running], kind: str) -> list[Measured]:
    """What the runs in progress tell of the time of others like them."""
    return [
        Measured(r.run.config.model_dump(mode="json"), kind, r.epochs, r.per_epoch * r.epochs, 0.0)
        for r in running
        if r.per_epoch is not None and r.epochs
    ]


def _pace(running: list[Running], ended: list[tuple[Run, Outcome]], now: float) -> tuple[int, float]:
    """How many runs were seen side by side of late, 0 where none was, and the seconds between two of them.

    Snakemake may have been given fewer cores than there are, or more GPUs than one. Those in progress are not
    enough to tell: between two runs, a core is free for a moment.
    """
    spans = [(r.started, math.inf) for r in running]
    since = min([now - _RECENT_SECONDS, *(r.started for r in running)])
    spans += [
        (end.ended - end.seconds, end.ended)
        for _, end in ended
        if end.ended > since and end.seconds is not None
    ]
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    at_once = max(itertools.accumulate(change for _, change in changes), default=0)
    starts, ends = (sorted(times) for times in zip(*spans, strict=True)) if spans else ([], [])
    # The first to end made room for the first that was not among the first `at_once` to start.
    gaps = [start - end for start, end in zip(starts[at_once:], ends, strict=False)]
    return at_once, max(0.0, statistics.median(gaps)) if gaps else 0.0
