"""What the command line tells people about a campaign: plan, status, show."""

import heapq
import json
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sign_ablate import device
from sign_ablate.config.campaign import Campaign
from sign_ablate.grid import Run, expand
from sign_ablate.train.lock import is_running
from sign_ablate.train.metrics import ENVIRONMENT, METRICS, RUN, TIMING


class NotFoundError(LookupError):
    """No run, or more than one, goes by that name."""


def status(campaign: Campaign, results: Path) -> str:
    """A line per cell, and the totals: done, diverged, running, missing."""
    runs = expand(campaign)
    states = {run.id: _state(results / campaign.campaign / "runs" / run.id) for run in runs}
    rows: list[tuple[str, ...]] = [("", "done", "diverged", "running", "missing")]
    for name, members in _by_cell(runs).items():
        count = Counter(states[run.id] for run in members)
        rows.append((name, *(str(count[key] or "·") for key in rows[0][1:])))
    total = Counter(states.values())
    rows.append((f"{len(runs)} runs", *(str(total[key]) for key in rows[0][1:])))
    return _columns(rows)


def plan(campaign: Campaign, results: Path, minutes: float | None = None) -> str:
    """A line per cell: its runs, those left to do, and their time by past runs' measured seconds.

    With `minutes`, also what of it is done in so long.
    """
    runs = expand(campaign)
    kind = device.resolve(campaign.execution.device)
    measured = _measured(results)
    rows: list[tuple[str, ...]] = [("", "runs", "to do", "seconds each", "minutes left")]
    left, unknown = 0.0, 0
    seconds_of: dict[str, float] = {}  # run left to do → seconds
    for name, members in _by_cell(runs).items():
        todo = [
            r
            for r in members
            if _state(results / campaign.campaign / "runs" / r.id) in {"missing", "running"}
        ]
        seconds = _estimate(members[0].config.model_dump(mode="json"), kind, measured)
        each, rest = ("?", "?") if seconds is None else (f"{seconds:.3g}", f"{seconds * len(todo) / 60:.1f}")
        rows.append((name, str(len(members)), str(len(todo)), each, rest))
        seconds_of |= {run.id: seconds or 0 for run in todo}
        left += (seconds or 0) * len(todo)
        unknown += len(todo) if seconds is None else 0
    jobs = "one at a time on the GPU" if kind == "cuda" else "divided by the number of cores"
    lines = [_columns(rows), "", f"{len(runs)} runs; {left / 60:.1f} minutes of work left, {jobs}."]
    if unknown:
        lines.append(
            f"{unknown} runs have no estimate: no run of their model and data set has been measured on "
            f"{kind} below {results}/."
        )
    elif minutes is not None:
        at_a_time = 1 if kind == "cuda" else max(1, (os.cpu_count() or 1) // campaign.execution.threads)
        lines.append(_fits(runs, seconds_of, at_a_time, minutes))
    return "\n".join(lines)


def _fits(runs: list[Run], seconds_of: dict[str, float], at_a_time: int, minutes: float) -> str:
    """What `minutes` are enough for, in Snakemake's order: one seed of every method before the second."""
    free = [0.0] * at_a_time  # when each of those at work is free again
    late = set()
    for run in runs:
        if run.id in seconds_of:
            end = heapq.heappop(free) + seconds_of[run.id]
            heapq.heappush(free, end)
            if end > minutes * 60:
                late.add(run.id)
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run.config.seed].append(run.id not in late)
    whole = [str(seed) for seed, done in by_seed.items() if all(done)]
    parts = [f"every method with seed{'s' * (len(whole) > 1)} {', '.join(whole)}"] if whole else []
    parts += [
        f"{sum(done)} of {len(done)} runs with seed {seed}"
        for seed, done in by_seed.items()
        if any(done) and not all(done)
    ]
    return f"After {minutes:g} minutes, {at_a_time} at a time: {'; '.join(parts) or 'no run'} done."


def show(name: str, results: Path) -> str:
    """The run whose id contains `name`. Raises NotFoundError where there is none or more than one."""
    folders = sorted(path for path in results.glob("*/runs/*") if name in path.name)
    exact = [path for path in folders if path.name == name]
    if len(exact or folders) != 1:
        what = "no run" if not folders else f"{len(folders)} runs"
        hint = "\n".join(f"  {path}" for path in folders[:10]) or f"  (looked for {results}/*/runs/*{name}*)"
        raise NotFoundError(f"{name}: {what} of that name\n{hint}")
    folder = (exact or folders)[0]
    lines = [str(folder), f"state: {_state(folder)}"]
    if (folder / RUN).exists():
        run = json.loads((folder / RUN).read_text())
        for part, values in run["resolved"].items():
            lines.append(f"{part}: {json.dumps(values)}")
    if (folder / ENVIRONMENT).exists():
        environment = json.loads((folder / ENVIRONMENT).read_text())
        lines.append(
            f"ran on {environment['device']} ({environment['host']}), "
            f"torch {environment['versions']['torch']}, commit {environment['git_commit']}, "
            f"{environment['seconds']:.1f} s"
        )
    if (folder / METRICS).exists():
        frame = pq.read_table(folder / METRICS).to_pandas().dropna(axis="columns", how="all")
        lines += ["", frame.tail(10).to_string(index=False, float_format=lambda value: f"{value:.4g}")]
    return "\n".join(lines)


def _state(folder: Path) -> str:
    if (folder / METRICS).exists():
        metadata = pq.read_metadata(folder / METRICS).metadata or {}
        return "diverged" if metadata.get(b"status") == b"diverged" else "done"
    return "running" if is_running(folder) else "missing"


def _by_cell(runs: Iterable[Run]) -> dict[str, list[Run]]:
    cells = defaultdict(list)
    for run in runs:
        cells[f"{run.cell.dataset}  {run.cell.label}"].append(run)
    return cells


#: a past run: its configuration, device kind, epochs, seconds per epoch, and seconds beside its epochs
Measured = tuple[dict[str, Any], str, float, float]


def _measured(results: Path) -> list[Measured]:
    return list(_read_measured(results))


def _read_measured(results: Path) -> Iterator[Measured]:
    for path in results.glob(f"*/runs/*/{TIMING}"):
        try:
            timing = pq.read_table(path, columns=["train_seconds", "eval_seconds"]).to_pydict()
            run = json.loads((path.parent / RUN).read_text())["resolved"]
            environment = json.loads((path.parent / ENVIRONMENT).read_text())
        except (OSError, ValueError, KeyError):
            continue  # a run that was cut off: nothing to learn
        epochs = len(timing["train_seconds"])
        if epochs:
            training = sum(timing["train_seconds"]) + sum(timing["eval_seconds"])
            kind = environment["device"].split(":")[0]
            yield run, kind, training / epochs, max(0.0, environment["seconds"] - training)


def _estimate(run: dict[str, Any], kind: str, measured: list[Measured]) -> float | None:
    """Median of like runs: same data, model and batch size, and the same optimizer if there is one."""
    train = run["train"]
    like = [
        m
        for m in measured
        if m[1] == kind
        and m[0]["data"] == run["data"]
        and all(m[0]["train"][key] == train[key] for key in ("model", "batch_size", "precision"))
    ]
    same = [m for m in like if m[0]["method"]["optimizer"] == run["method"]["optimizer"]]
    like = same or like
    if not like or train["epochs"] is None:
        return None
    return statistics.median(m[2] for m in like) * train["epochs"] + statistics.median(m[3] for m in like)


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
