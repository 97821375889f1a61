"""`sign-ablate plan`: what is left to do, and how long it takes."""

from collections import defaultdict
from pathlib import Path

from sign_ablate import device
from sign_ablate.config.campaign import Campaign
from sign_ablate.grid import Run, expand
from sign_ablate.people import estimate
from sign_ablate.people.runs import by_cell, columns, state


def plan(campaign: Campaign, results: Path, minutes: float | None = None) -> str:
    """A line per cell: its runs, those left to do, and their time by past runs' measured seconds.

    With `minutes`, also what of it is done in so long.
    """
    runs = expand(campaign)
    kind = device.resolve(campaign.execution.device)
    measured = estimate.measured(results)
    rows: list[tuple[str, ...]] = [("", "runs", "to do", "seconds each", "minutes left")]
    left, unknown = 0.0, 0
    seconds_of: dict[str, float] = {}  # run left to do → seconds
    for name, members in by_cell(runs).items():
        folder = results / campaign.campaign / "runs"
        todo = [run for run in members if state(folder / run.id) in {"missing", "running"}]
        seconds = estimate.seconds(members[0].config.model_dump(mode="json"), kind, measured)
        each, rest = ("?", "?") if seconds is None else (f"{seconds:.3g}", f"{seconds * len(todo) / 60:.1f}")
        rows.append((name, str(len(members)), str(len(todo)), each, rest))
        seconds_of |= {run.id: seconds or 0 for run in todo}
        left += (seconds or 0) * len(todo)
        unknown += len(todo) if seconds is None else 0
    jobs = "one at a time on the GPU" if kind == "cuda" else "divided by the number of cores"
    lines = [*columns(rows), "", f"{len(runs)} runs; {left / 60:.1f} minutes of work left, {jobs}."]
    if unknown:
        lines.append(
            f"{unknown} runs have no estimate: no run of their model and data set has been measured on "
            f"{kind} below {results}/."
        )
    elif minutes is not None:
        lines.append(_fits(runs, seconds_of, estimate.at_a_time(campaign, kind), minutes))
    return "\n".join(lines)


def _fits(runs: list[Run], seconds_of: dict[str, float], at_once: int, minutes: float) -> str:
    """What `minutes` are enough for, in Snakemake's order: one seed of every method before the second."""
    todo = [run.id for run in runs if run.id in seconds_of]
    ends = estimate.ends((seconds_of[run] for run in todo), at_once)
    late = {run for run, end in zip(todo, ends, strict=True) if end > minutes * 60}
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
    return f"After {minutes:g} minutes, {at_once} at a time: {'; '.join(parts) or 'no run'} done."
