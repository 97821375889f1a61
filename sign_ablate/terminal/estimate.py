"""How long runs take, by the measured seconds of past ones, and when a campaign's runs end."""

import dataclasses
import functools
import heapq
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
    """A past run: its configuration, device kind, epochs, their seconds, and seconds beside them."""

    run: Mapping[str, Any]
    kind: str
    epochs: int
    in_epochs: float
    beside: float


def measured(results: Path) -> list[Measured]:
    """What the runs in `results` took."""
    return list(_measured(results))


def _measured(results: Path) -> Iterator[Measured]:
    for path in runs_folder(results).glob(f"*/{TIMING}"):
        try:
            found = _read(path, path.stat().st_mtime_ns)
        except (OSError, record.DamagedError):
            continue  # a run that was cut off, or is being written: nothing to learn
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
    """Median of like runs: same data, model and batch size, and the same optimizer if there is one.

    A run of so many steps is like those of as many steps only: how many make an epoch is not known here.
    """
    train = run["train"]
    keys = ("model", "batch_size", "precision", *(("steps",) if train["epochs"] is None else ()))
    like = [
        m
        for m in past
        if m.kind == kind
        and m.run["data"] == run["data"]
        and all(m.run["train"].get(key) == train[key] for key in keys)
    ]
    same = [m for m in like if m.run["method"].get("optimizer") == run["method"]["optimizer"]]
    like = same or like
    if not like:
        return None
    in_epochs = statistics.median(m.in_epochs / m.epochs * (train["epochs"] or m.epochs) for m in like)
    return in_epochs + statistics.median(m.beside for m in like)


def at_a_time(campaign: Campaign, kind: str) -> int:
    """How many runs go side by side: one on a GPU, or as many as there are cores for."""
    return 1 if kind == "cuda" else max(1, (os.cpu_count() or 1) // campaign.execution.threads)


def ends(seconds_of: Iterable[float], at_once: int) -> list[float]:
    """When each of the runs ends that take so long and begin in this order, `at_once` of them at a time."""
    free = [0.0] * at_once  # when each of those at work is free again
    found = []
    for taken in seconds_of:
        found.append(heapq.heappop(free) + taken)
        heapq.heappush(free, found[-1])
    return found
