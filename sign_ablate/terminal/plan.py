"""`sign-ablate plan`: the runs that are left to do, and their estimated time."""

from collections import defaultdict
from pathlib import Path

from sign_ablate.campaign.grid import Run, expand, left_out
from sign_ablate.config.campaign import Campaign
from sign_ablate.jobs import device
from sign_ablate.store.layout import data_file, run_folder
from sign_ablate.terminal import estimate
from sign_ablate.terminal.cluster import Profile, cost
from sign_ablate.terminal.states import by_cell, columns, counted, state
from sign_ablate.tuning.search import pending


def plan(
    campaign: Campaign, results: Path, minutes: float | None = None, profile: Profile | None = None
) -> str:
    """Format the plan of a campaign: for each cell, its runs, those left to do, and their estimated time.

    Args:
        campaign: the campaign.
        results: the results folder.
        minutes: if given, the plan also says which runs will be done after this time.
        profile: if given, the plan is for the cluster that this Snakemake profile submits to.
    """
    trials = [run for search in pending(campaign) for run in search.runs()]
    runs = [*trials, *expand(campaign, placeholders=True)]
    kind = device.resolve(campaign.execution.device)
    measured = estimate.measured(results)
    rows: list[tuple[str, ...]] = [("", "runs", "to do", "seconds each", "minutes left")]
    seconds_of: dict[str, float | None] = {}  # id of a run left to do → estimated seconds, if known
    for name, members in by_cell(runs).items():
        states = {run: state(run_folder(results, run.id)) for run in members}
        left = [run for run in members if states[run] not in {"done", "diverged"}]
        seconds = estimate.seconds(members[0].config.model_dump(mode="json"), kind, measured)
        each, rest = "?", "?"
        if seconds is not None:
            each, rest = f"{seconds:.3g}", estimate.amount(seconds * len(left) / 60, digits=1)
        rows.append((name, str(len(members)), str(len(left)), each, rest if left else "0.0"))
        seconds_of |= {run.id: seconds for run in left}
    known = {run: seconds for run, seconds in seconds_of.items() if seconds is not None}
    done, todo = len(runs) - len(seconds_of), len(seconds_of)
    lines = [*columns(rows), "", f"{counted(len(runs), 'run')}: {done} done, {todo} to do."]
    if known and profile is None:
        shared = campaign.execution.runs_per_gpu
        on_gpu = "one at a time on the GPU" if shared == 1 else f"{shared} at a time on the GPU"
        jobs = on_gpu if kind == "cuda" else "divided by the number of cores"
        of = "" if len(known) == todo else f" for {len(known)} of them"
        minutes_of_work = estimate.amount(sum(known.values()) / 60, digits=1).capitalize()
        lines.append(f"{minutes_of_work} minutes of work{of}, {jobs}.")
    unknown = todo - len(known)
    if unknown:
        lines.append(
            f"{counted(unknown, 'run')} without an estimate: none with the same data, model, batch size and "
            f"precision has been measured on {kind} below {results}/."
        )
    if profile is not None and todo:
        files = {run.data_id for run in runs if run.id in seconds_of}
        missing = sum(not data_file(results, name).exists() for name in files)
        lines += cost(profile, campaign, list(seconds_of.values()), kind, missing)
    if trials:
        lines.append(
            f"{counted(len(trials), 'run')} of them search for the values of the others: snakemake tune."
        )
    if omitted := left_out(campaign):
        lines.append(omitted)
    if minutes is not None and todo:
        if profile is None:
            slots = estimate.at_a_time(campaign, kind)
            needed = {run.id: campaign.execution.ranks(run.config.train.workers) for run in runs}
        else:  # a run of several ranks is one submission
            slots, needed = profile.jobs * profile.runs, dict.fromkeys(seconds_of, 1)
        lines.append(_fits(runs, seconds_of, needed, slots, minutes))
    return "\n".join(lines)


def _fits(
    runs: list[Run], seconds_of: dict[str, float | None], needed: dict[str, int], slots: int, minutes: float
) -> str:
    """Sentence about the runs that are done after `minutes`, in Snakemake's order: seed by seed.

    `needed` is the number of slots that each run takes, of all `slots`.
    """
    after = f"{minutes:g} minute{'' if minutes == 1 else 's'}"
    todo = [run.id for run in runs if run.id in seconds_of]
    known = [(run, seconds) for run in todo if (seconds := seconds_of[run]) is not None]
    if not known:
        return f"How much is done after {after} is not known."
    ends = estimate.ends(((seconds, needed[run]) for run, seconds in known), slots)
    done_by_then = {run for (run, _), end in zip(known, ends, strict=True) if end <= minutes * 60}
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run.config.seed].append(run.id not in seconds_of or run.id in done_by_then)
    whole = [str(seed) for seed, done in by_seed.items() if all(done)]
    parts = [f"every method with seed{'s' * (len(whole) > 1)} {', '.join(whole)}"] if whole else []
    parts += [
        f"{sum(done)} of {len(done)} runs with seed {seed}"
        for seed, done in by_seed.items()
        if any(done) and not all(done)
    ]
    unknown = len(todo) - len(known)
    last = f", if the {counted(unknown, 'run')} without an estimate came last" if unknown else ""
    return f"After {after}, {slots} at a time{last}: {'; '.join(parts) or 'no run'} done."
