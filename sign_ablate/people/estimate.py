"""How long runs take, by the measured seconds of past ones, and when a campaign's runs end."""

import dataclasses
import functools
import heapq
import json
import os
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sign_ablate.config.campaign import Campaign
from sign_ablate.train.metrics import ENVIRONMENT, RUN, TIMING


@dataclasses.dataclass(frozen=True)
class Measured:
    """A past run: its configuration, device kind, seconds per epoch, and seconds beside its epochs."""

    run: dict[str, Any]
    kind: str
    per_epoch: float
    beside: float


def measured(results: Path) -> list[Measured]:
    """What the runs of all campaigns below `results` took."""
    return list(_measured(results))


def _measured(results: Path) -> Iterator[Measured]:
    for path in results.glob(f"*/runs/*/{TIMING}"):
        try:
            found = _read(path, path.stat().st_mtime_ns)
        except (OSError, ValueError, KeyError):
            continue  # a run that was cut off, or is being written: nothing to learn
        if found is not None:
            yield found


@functools.cache
def _read(path: Path, written: int) -> Measured | None:
    with pq.ParquetFile(path) as file:
        timing = file.read(columns=["train_seconds", "eval_seconds"]).to_pydict()
    run = json.loads((path.parent / RUN).read_text())["resolved"]
    environment = json.loads((path.parent / ENVIRONMENT).read_text())
    epochs = len(timing["train_seconds"])
    if not epochs:
        return None
    training = sum(timing["train_seconds"]) + sum(timing["eval_seconds"])
    kind = environment["device"].split(":")[0]
    return Measured(run, kind, training / epochs, max(0.0, environment["seconds"] - training))


def seconds(run: dict[str, Any], kind: str, past: Iterable[Measured]) -> float | None:
    """Median of like runs: same data, model and batch size, and the same optimizer if there is one."""
    train = run["train"]
    like = [
        m
        for m in past
        if m.kind == kind
        and m.run["data"] == run["data"]
        and all(m.run["train"][key] == train[key] for key in ("model", "batch_size", "precision"))
    ]
    same = [m for m in like if m.run["method"]["optimizer"] == run["method"]["optimizer"]]
    like = same or like
    if not like or train["epochs"] is None:
        return None
    per_epoch = statistics.median(m.per_epoch for m in like)
    return per_epoch * train["epochs"] + statistics.median(m.beside for m in like)


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
