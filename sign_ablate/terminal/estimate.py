"""Estimates of run times from past runs, and of the finish times of a campaign's runs."""

import dataclasses
import functools
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sign_ablate.config.campaign import Campaign
from sign_ablate.store import reading, record
from sign_ablate.store.layout import TIMING, runs_folder


@dataclasses.dataclass(frozen=True)
class Measured:
    """Measured time of a past run."""

    #: resolved configuration
    run: Mapping[str, Any]
    #: "cpu" or "cuda"
    kind: str
    epochs: int
    #: seconds of training and evaluation, summed over the epochs
    in_epochs: float
    #: seconds outside the epochs, such as imports and reading of data
    beside: float


def measured(results: Path) -> list[Measured]:
    """Measured times of the finished runs below `results`."""
    return list(_measured(results))


def _measured(results: Path) -> Iterator[Measured]:
    for path in runs_folder(results).glob(f"*/{TIMING}"):
        try:
            found = _read(path, path.stat().st_mtime_ns)
        except (OSError, record.DamagedError):
            continue  # the run is damaged or is being written
        if found is not None:
            yield found


@functools.cache
def _read(path: Path, written: int) -> Measured | None:
    timing, environment = reading.timing(path.parent), reading.environment(path.parent)
    run = record.read(path.parent)
    if (
        run is None
        or timing is None
        or not timing.num_rows
        or environment.device is None
        or environment.seconds is None
    ):
        return None
    columns = timing.to_pydict()
    in_epochs = sum(columns["train_seconds"]) + sum(columns["eval_seconds"])
    beside = max(0.0, environment.seconds - in_epochs)
    kind = environment.device.split(":")[0]
    return Measured(run.resolved.model_dump(), kind, timing.num_rows, in_epochs, beside)


def seconds(run: Mapping[str, Any], kind: str, past: Iterable[Measured]) -> float | None:
    """Estimated seconds of a run: the median over similar past runs, or None if there are none.

    Similar runs have the same data up to the validation split, the same model, batch size, precision and kind
    of device. If some of them have the same optimizer, only those are used. The steps per epoch are not known
    here, so a run whose length is given in steps is compared only with runs of the same number of steps.
    """
    train = run["train"]
    keys = ("model", "batch_size", "precision", *(("steps",) if train["epochs"] is None else ()))
    like = [
        m
        for m in past
        if m.kind == kind
        and _images(m.run) == _images(run)
        and all(m.run["train"].get(key) == train[key] for key in keys)
    ]
    same = [m for m in like if m.run["method"].get("optimizer") == run["method"]["optimizer"]]
    like = same or like
    if not like:
        return None
    in_epochs = statistics.median(m.in_epochs / m.epochs * (train["epochs"] or m.epochs) for m in like)
    return in_epochs + statistics.median(m.beside for m in like)


def _images(run: Mapping[str, Any]) -> dict[str, Any]:
    """Data set of a run, without what hardly changes its time."""
    return {key: value for key, value in run["data"].items() if key not in {"val", "split_seed"}}


def amount(value: float, digits: int) -> str:
    """Format a time with `digits` decimals, or as "under" the shortest one that they can show.

    >>> amount(12.34, 1), amount(0.04, 1), amount(0, 1)
    ('12.3', 'under 0.1', '0.0')
    """
    shortest = 10.0**-digits
    return f"under {shortest:g}" if 0 < value < shortest else f"{value:.{digits}f}"


def at_a_time(campaign: Campaign, kind: str) -> int:
    """Number of runs that are assumed to run in parallel: those of one GPU, or cores / threads per run."""
    return (
        campaign.execution.runs_per_gpu
        if kind == "cuda"
        else max(1, (os.cpu_count() or 1) // campaign.execution.threads)
    )


def ends(runs: Iterable[tuple[float, int]], slots: int) -> list[float]:
    """Simulated finish times of runs that start in the given order, each as soon as its slots are free.

    Args:
        runs: seconds and number of slots of each run, in order of start. One that needs more slots than there
            are takes all of them, as Snakemake's threads do.
        slots: number of slots, such as cores / threads per run.

    Returns:
        Finish time of each run, in seconds from now.
    """
    free = [0.0] * slots  # sorted times at which each slot becomes free
    found = []
    for seconds, needed in runs:
        taken = min(needed, slots)
        found.append(free[taken - 1] + seconds)
        free = sorted([*free[taken:], *[found[-1]] * taken])
    return found
