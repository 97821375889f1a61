"""`sign-ablate runs` lists the stored runs; `sign-ablate prune` deletes those that no campaign refers to."""

import dataclasses
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sign_ablate.config.base import canonical
from sign_ablate.config.campaign import Campaign
from sign_ablate.jobs import campaign_lock, file_lock
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.store import layout, record
from sign_ablate.store.layout import CHECKPOINT, LOCK
from sign_ablate.terminal.states import counted, outcome, state
from sign_ablate.tuning.search import all_runs, unchosen

NONE = "·"
#: keys whose values a cell's choice will give, and the text of a run of the cell without these keys
Pattern = tuple[frozenset[str], str]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A run in the store."""

    folder: Path
    #: done, diverged, damaged, running, interrupted or missing
    state: str
    #: time of its end, in seconds since 1970
    ended: float | None
    #: size of its files in bytes
    size: int
    #: options of its method that are not defaults
    options: str
    #: campaign → the label of its cell there
    used_by: Mapping[str, str]
    #: True if it belongs to these cells only for some choice of `tuning`, which is missing
    maybe: bool = False


def stored(campaigns: Iterable[Campaign], results: Path) -> list[Stored]:
    """All runs in the store, sorted by name."""
    users: dict[str, dict[str, str]] = defaultdict(dict)
    possible: dict[Pattern, dict[str, str]] = defaultdict(dict)
    for campaign in campaigns:
        for run in all_runs(campaign):
            users[run.id][campaign.campaign] = run.cell.label
        for run, keys in unchosen(campaign):
            possible[_pattern(json.loads(run.spec), keys)][campaign.campaign] = run.cell.label
    folders = sorted(path for path in layout.runs_folder(results).glob("*") if path.is_dir())
    return [_look(folder, users.get(folder.name, {}), possible) for folder in folders]


def _look(folder: Path, used_by: Mapping[str, str], possible: Mapping[Pattern, Mapping[str, str]]) -> Stored:
    ended, found, spec = outcome(folder), state(folder), _spec(folder)
    if found == "missing" and (folder / CHECKPOINT).exists():
        found = "interrupted"
    maybe: dict[str, str] = {}
    if not used_by:
        for keys in {keys for keys, _ in possible}:
            maybe |= possible.get(_pattern(spec, keys), {})
    return Stored(
        folder, found, ended.ended if ended else None, _size(folder), _options(spec),
        used_by or maybe, maybe=bool(maybe),
    )  # fmt: skip


def _pattern(spec: Mapping[str, Any], keys: frozenset[str]) -> Pattern:
    """Pattern of the runs that differ from a run in the values of `keys` only."""
    parts = {
        name: {key: value for key, value in part.items() if key not in keys}
        if name in {"method", "train"}
        else part
        for name, part in spec.items()
    }
    return keys, canonical(parts)


def runs_text(campaigns: Sequence[Campaign], results: Path) -> str:
    """Format one line per stored run (name, state, end, options, campaigns that use it), then a total."""
    runs = stored(campaigns, results)
    rows = [("run", "state", "ended", "options", "used by"), *(_row(run) for run in runs)]
    unused = [run for run in runs if not run.used_by]
    names = ", ".join(campaign.campaign for campaign in campaigns)
    size = sum(run.size for run in runs) / 1e6
    return "\n".join(
        [
            *(_columns(rows) if runs else []),
            f"{counted(len(runs), 'run')} in {layout.runs_folder(results)}/ ({size:.1f} MB); "
            f"{len(unused)} not used by the given campaigns ({names}).",
        ]
    )


def prune(campaigns: Sequence[Campaign], results: Path, *, delete: bool = False) -> str:
    """List, and with `delete` delete, the runs and data files that none of the given campaigns refers to.

    A run that a cell may need once its values are chosen is kept: `tuned.json` may be lost, or be another
    file in calls with `tuning.file`. A running run is never deleted. While an unreferenced run is running, no
    data file is deleted either.

    Raises:
        JobError: with `delete`, if Snakemake is running a campaign that is not given.
        OSError: if a file cannot be deleted.
    """
    found = stored(campaigns, results)
    runs = [run for run in found if not run.used_by]
    busy = [run for run in runs if run.state == "running"]
    idle = [run for run in runs if run.state != "running"]
    files = [] if busy else _unused_data(campaigns, results)
    size = (sum(run.size for run in idle) + sum(file.stat().st_size for file in files)) / 1e6
    if delete:
        _refuse_others_at_work(campaigns, results)
        idle = [run for run in idle if _delete_run(run.folder)]
        for file in files:
            file.unlink()
    lines = [f"{run.folder}  {run.state}  {run.options}".rstrip() for run in idle]
    lines += [f"{run.folder}  running: kept" for run in busy]
    lines += map(str, files)
    if maybe := [run for run in found if run.maybe]:
        names = ", ".join(dict.fromkeys(name for run in maybe for name in run.used_by))
        lines.append(
            f"{counted(len(maybe), 'run')} kept, since they fit cells without a choice ({names}); "
            "run snakemake tune."
        )
    what = f"{counted(len(idle), 'run')} and {counted(len(files), 'data file')}"
    if delete:
        lines.append(f"Deleted: {what}.")
    elif idle or files:
        lines.append(
            f"{what} ({size:.1f} MB) not used by the given campaigns. Nothing is deleted without --delete."
        )
    else:
        lines.append("Nothing to delete.")
    return "\n".join(lines)


def _refuse_others_at_work(campaigns: Iterable[Campaign], results: Path) -> None:
    given = {campaign.campaign for campaign in campaigns}
    for lock in results.glob(f"*/{LOCK}"):
        folder = lock.parent
        if folder.name not in given and campaign_lock.is_held(folder):
            raise JobError(
                f"{folder}: Snakemake is running this campaign, which is not among those given; give its "
                "configuration too, or wait until it ends"
            )


def _delete_run(folder: Path) -> bool:
    """Delete a run unless a process has started to train it. Return True if it was deleted."""
    lock = file_lock.try_lock(folder / LOCK)
    if lock is None:
        return False
    with lock:
        shutil.rmtree(folder)
    return True


def _unused_data(campaigns: Iterable[Campaign], results: Path) -> list[Path]:
    used = {run.data_id for campaign in campaigns for run in all_runs(campaign)}
    used |= {run.data_id for campaign in campaigns for run, _ in unchosen(campaign)}
    files = layout.data_folder(results).glob("*.npz")
    return sorted(file for file in files if file.stem not in used)


def _row(run: Stored) -> tuple[str, ...]:
    ended = NONE if run.ended is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(run.ended))
    maybe = ", without a choice" if run.maybe else ""
    used_by = ", ".join(f"{campaign} ({label}{maybe})" for campaign, label in run.used_by.items())
    return run.folder.name, run.state, ended, run.options or NONE, used_by or NONE


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _spec(folder: Path) -> dict[str, Any]:
    """Configuration of a run, from its record. Empty if it has no readable record."""
    try:
        found = record.read(folder)
    except (OSError, record.DamagedError):
        return {}
    return found.spec if found else {}


def _options(spec: Mapping[str, Any]) -> str:
    """Method options of a run that are not defaults."""
    return " ".join(f"{key}={value}" for key, value in spec.get("method", {}).items() if key != "optimizer")


def _size(folder: Path) -> int:
    """Total size of a run's files in bytes."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
