"""Snapshot of a campaign: states of its runs, progress of those that are running, remaining time."""

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
from sign_ablate.terminal.queue import queued
from sign_ablate.terminal.running import Running, look
from sign_ablate.terminal.states import Outcome, by_cell, outcome, state

#: only runs that ended within this time are used to measure how many run in parallel
_RECENT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """State of a campaign's runs at one moment."""

    #: time of the snapshot, in seconds since 1970
    now: float
    #: run id → done, diverged, damaged, running, queued, failed, interrupted or missing
    states: dict[str, str]
    running: list[Running]
    #: runs that are done or diverged, newest first
    ended: list[tuple[Run, Outcome]]
    #: for each damaged file, a message that says what to do
    damaged: list[str]
    #: runs that failed or were interrupted, latest first
    stopped: list[tuple[Run, Failure]]
    #: estimated seconds until the last run ends, without the runs that have no estimate
    left: float
    #: number of runs without an estimate
    without_estimate: int
    #: number of runs that run in parallel
    at_once: int

    @property
    def over(self) -> bool:
        """True if all runs are done or diverged."""
        return len(self.ended) == len(self.states)


def take(campaign: Campaign, runs: list[Run], results: Path) -> Snapshot:
    """Take a snapshot of the campaign's `runs` from their files below `results`."""
    now, kind = time.time(), device.resolve(campaign.execution.device)
    folders = {run.id: run_folder(results, run.id) for run in runs}
    states = {run.id: state(folders[run.id]) for run in runs}
    idle = [run for run, known in states.items() if known in {"missing", "failed", "interrupted"}]
    states |= dict.fromkeys(queued(idle, results) if idle else (), "queued")
    over = [run for run in runs if states[run.id] in {"done", "diverged", "damaged"}]
    found = [(run, end) for run in over if (end := outcome(folders[run.id])) is not None]
    damaged = [line for _, end in found for line in end.problems]
    ended = [(run, end) for run, end in found if end.state != "damaged"]
    ended.sort(key=lambda pair: pair[1].ended, reverse=True)
    todo = [run for run in runs if states[run.id] not in {"done", "diverged"}]
    at_work = [run for run in todo if states[run.id] == "running"]
    each = _estimates(todo, kind, estimate.measured(results) if todo else [])
    running = [look(run, folders[run.id], each[run.id], now) for run in at_work]
    if None in each.values():  # no similar run has finished: use the epochs of the runs in progress
        guessed = _estimates(todo, kind, _begun(running, kind))
        each = {run: guessed[run] if known is None else known for run, known in each.items()}
        running = [look(run, folders[run.id], each[run.id], now) for run in at_work]
    missing = [each[run.id] for run in todo if states[run.id] != "running"]
    failed = [run for run in todo if states[run.id] in {"failed", "interrupted"}]
    stopped = _stopped(failed, results, campaign.campaign)
    at_once, gap = _pace(running, ended, now)
    at_once = at_once or estimate.at_a_time(campaign, kind)
    # Runs in progress come first, because they occupy their slots already.
    seconds = [r.left or 0.0 for r in running] + [gap + (known or 0.0) for known in missing]
    unknown = [r.left for r in running].count(None) + missing.count(None)
    left = max(estimate.ends([(each, 1) for each in seconds], at_once), default=0.0)
    return Snapshot(now, states, running, ended, damaged, stopped, left, unknown, at_once)


def _stopped(runs: list[Run], results: Path, campaign: str) -> list[tuple[Run, Failure]]:
    """Failures of runs that are not done, latest first."""
    found = []
    for run in runs:
        folder = run_folder(results, run.id)
        end = progress.read(folder)
        if end is not None:  # None if the run has finished a moment ago
            log = train_log(results, campaign, run.id)
            found.append((end.updated, run, failures.of_run(folder, end, str(log))))
    found.sort(key=lambda triple: triple[0], reverse=True)
    return [(run, failure) for _, run, failure in found]


def _estimates(runs: list[Run], kind: str, past: list[Measured]) -> dict[str, float | None]:
    """Estimated seconds of each run, by its id. The runs of a cell get the same value."""
    return {
        run.id: seconds
        for members in by_cell(runs).values()
        for seconds in [estimate.seconds(members[0].config.model_dump(mode="json"), kind, past)]
        for run in members
    }


def _begun(running: list[Running], kind: str) -> list[Measured]:
    """Measured times of the runs in progress, extrapolated to all of their epochs."""
    return [
        Measured(r.run.config.model_dump(mode="json"), kind, r.epochs, r.per_epoch * r.epochs, 0.0)
        for r in running
        if r.per_epoch is not None and r.epochs
    ]


def _pace(running: list[Running], ended: list[tuple[Run, Outcome]], now: float) -> tuple[int, float]:
    """Measure the parallelism of recent runs.

    It cannot be derived from the machine: Snakemake may use fewer cores than there are, or several GPUs. The
    number of runs in progress is too low at a moment when a core is between two runs.

    Returns:
        The largest number of runs that ran at the same time (0 if there were none), and the median seconds
        between the end of a run and the start of the next in its place.
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
    # The n-th run to end freed the slot of the (n + at_once)-th run to start.
    gaps = [start - end for start, end in zip(starts[at_once:], ends, strict=False)]
    return at_once, max(0.0, statistics.median(gaps)) if gaps else 0.0
