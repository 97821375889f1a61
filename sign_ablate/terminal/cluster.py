"""Queue slots and hours that a campaign takes on a cluster, by the Snakemake profile that submits it."""

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sign_ablate.config.campaign import Campaign
from sign_ablate.config.errors import ConfigError, shown
from sign_ablate.config.read import read_yaml
from sign_ablate.terminal import estimate
from sign_ablate.terminal.states import counted

#: minutes in a unit of Snakemake's `runtime`; without a unit it is in minutes
_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0, "": 1.0}
#: functions that an expression of `runtime` may call
_FUNCTIONS = {function.__name__: function for function in (min, max, int, round)}


@dataclasses.dataclass(frozen=True)
class Profile:
    """Settings of a Snakemake profile for the submission of runs.

    `jobs` submissions exist at a time, with `runs` runs in each; `minutes` is the time limit of a run, None
    if the profile sets none. `groups` has the group of a rule that shares a submission with others.
    `expression` is the profile's `runtime` if it is one; `minutes` is then its value in the first attempt.
    """

    folder: Path
    jobs: int
    runs: int
    minutes: float | None
    groups: Mapping[str, str]
    expression: str | None = None


def read_profile(folder: Path) -> Profile:
    """Read a profile, such as profiles/slurm. Raises ConfigError."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"--profile {folder}: must be a folder with a config.yaml, such as profiles/slurm")
    values = read_yaml(path)
    if "executor" not in values:
        raise ConfigError(f"{path}: has no executor, so nothing is submitted; name the profile of a cluster")
    jobs = values.get("jobs")
    if type(jobs) is not int or jobs < 1:
        raise ConfigError(f"{path}: jobs = {shown(jobs)}: must be a number of submissions, 1 or more")
    groups = _pairs(values.get("groups"))
    size = _pairs(values.get("group-components")).get(groups.get("train", ""), 1)
    own = _pairs(_pairs(values.get("set-resources"), ":").get("train"))
    runtime = (_pairs(values.get("default-resources")) | own).get("runtime")
    minutes = None if runtime is None else _minutes(path, runtime)
    expression = runtime if isinstance(runtime, str) and _duration(runtime) is None else None
    return Profile(folder, jobs, int(size), minutes, groups, expression)


def _pairs(values: Any, mark: str = "=") -> dict[str, Any]:
    """A mapping, which a profile may write as one or as a list or text of KEY=VALUE."""
    if isinstance(values, Mapping):
        return dict(values)
    found: dict[str, Any] = {}
    for text in values.split() if isinstance(values, str) else values or []:
        key, _, value = str(text).partition(mark)
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def _minutes(path: Path, runtime: Any) -> float:
    """Minutes of a `runtime`. Snakemake evaluates one that is not a duration as a Python expression."""
    value = runtime
    if _duration(value) is None:
        with contextlib.suppress(Exception):  # an expression of a profile may raise anything
            value = eval(str(runtime), {"__builtins__": {}, **_FUNCTIONS}, {"attempt": 1})
    minutes = _duration(value)
    if minutes is None:
        raise ConfigError(
            f"{path}: runtime = {shown(runtime)}: must be minutes, such as 4h (s, m, h, d), or an expression "
            "of attempt, such as attempt * 60"
        )
    return minutes


def _duration(value: Any) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
    return float(match[1]) * _UNITS[match[2]] if match else None


def cost(
    profile: Profile, campaign: Campaign, seconds: Sequence[float | None], kind: str, data_files: int
) -> list[str]:
    """Sentences about the submissions of a campaign, and their hours.

    Args:
        profile: the profile.
        campaign: the campaign.
        seconds: estimated seconds of each run that is left to do, in order of start; None if not known.
        kind: "cpu" or "cuda". The runs of a submission follow each other on a GPU, and are parallel on CPUs.
        data_files: number of data files to prepare.
    """
    groups = [seconds[i : i + profile.runs] for i in range(0, len(seconds), profile.runs)]
    after = _after_training(profile, campaign) if seconds else 0
    each = f", {counted(profile.runs, 'run')} each" if profile.runs > 1 else ""
    count = counted(len(groups) + data_files + after, "submission")
    lines = [
        f"{profile.folder}: {count}: {data_files} for data, {len(groups)} for training{each}, {after} after "
        f"it; at most {profile.jobs} at a time."
    ]
    if profile.minutes is not None and groups:
        limit = profile.minutes * (profile.runs if kind == "cuda" else 1)
        first = f" (runtime: {profile.expression}, in the first attempt)" if profile.expression else ""
        lines.append(
            f"Training has a limit of {limit:g} minutes each, "
            f"{estimate.amount(len(groups) * limit / 60, digits=1)} hours in all{first}."
        )
    known = [[s for s in group if s is not None] for group in groups]
    taken = [sum(group) if kind == "cuda" else max(group) for group in known if group]
    if taken:
        unknown = sum(s is None for s in seconds)
        end = max(estimate.ends([(each, 1) for each in taken], profile.jobs))
        of = f" for {len(seconds) - unknown} of {counted(len(seconds), 'run')}" if unknown else ""
        lines.append(
            f"By past runs it takes {estimate.amount(sum(taken) / 3600, digits=2)} hours{of}, and ends after "
            f"{estimate.amount(end / 3600, digits=2)} hours if no "
            "submission waits in the queue."
        )
        if profile.minutes is not None and max(itertools.chain(*known)) > 60 * profile.minutes:
            longest = math.ceil(max(itertools.chain(*known)) / 60)
            lines.append(
                f"A run takes {longest} minutes, more than its limit: raise the runtime of train in "
                f"{profile.folder}."
            )
    return lines


def _after_training(profile: Profile, campaign: Campaign) -> int:
    """Number of submissions for tables, figures and report."""
    jobs = {"aggregate": 1, "ledger": 1, "figure": len(campaign.figures), "table": 1, "report_html": 1}
    if campaign.tuning is not None:
        jobs["tuning_figures"] = len(campaign.datasets)
    grouped = {profile.groups[rule] for rule in jobs if rule in profile.groups}
    return len(grouped) + sum(n for rule, n in jobs.items() if rule not in profile.groups)
