"""`sign-ablate merge`: an exported campaign from the exports of its parts."""

import datetime
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from sign_ablate.analysis import merge as tables
from sign_ablate.analysis import schemas
from sign_ablate.campaign.identity import campaign_spec
from sign_ablate.config import Campaign, ConfigError, load_campaign, parse_campaign
from sign_ablate.jobs.log import complain
from sign_ablate.store import layout
from sign_ablate.terminal.export import PROVENANCE, TUNED, ExportError, check_out, keep
from sign_ablate.terminal.rebuild import checked, rebuild_one
from sign_ablate.tuning import choice

_ORIGIN: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def merge(
    parts: Sequence[Path], config: Sequence[Path], overrides: Sequence[str], results: Path, out: Path | None
) -> str:
    """Export a campaign from the exports of its parts, and rebuild its ledger, table and figures.

    A part has some of the runs: some seeds or methods, by `export --partial` or by a smaller campaign. What
    several parts have is taken from the first.

    Args:
        parts: folders that `sign-ablate export` wrote.
        config: configuration files of the campaign.
        overrides: values such as `seeds=[0]`.
        results: the results folder. The report is in `rebuilt/<campaign>` there.
        out: folder to write; None for `reference/<campaign>` in `results`. It may be one of the parts.

    Returns:
        Lines on what was taken and written.

    Raises:
        ExportError: if a part is damaged, or if `out` has other files.
        ConfigError: if the campaign is invalid, or if no part has the choice of one of its searches.
        AggregateError: if no part has a run of the campaign.
        NotebookError: if a notebook fails.
        OSError: if a file cannot be read or written.
    """
    origins = []
    for part in parts:
        checked(part)
        origins.append(_origin(part))
    campaign = load_campaign(config, overrides, results)
    out = out or layout.reference_folder(results) / campaign.campaign
    rebuilt = layout.rebuilt_folder(results) / campaign.campaign
    check_out(out, rebuilt)
    if made := [part for part in parts if part.resolve() == rebuilt.resolve()]:
        raise ExportError(f"{made[0]}: was made by rebuild; give the folder that sign-ablate export wrote")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        if campaign.tuning is not None:
            campaign = _with_choices(parts, config, overrides, source / TUNED)
        taken = tables.merge(parse_campaign(json.loads(campaign_spec(campaign))), parts, source)
        _check_nothing_lost(out, source)
        rebuild_one(source, campaign, rebuilt)
        origin = _provenance(parts, config, overrides, taken, origins)
        lines = [f"{part}: {_said(each)}" for part, each in zip(parts, taken, strict=True)]
        return "\n".join([*lines, keep(campaign, rebuilt, source / TUNED, origin, out)])


def _said(taken: tables.Taken) -> str:
    rest = [f"{taken.earlier} are in an earlier part"] if taken.earlier else []
    rest += [f"{taken.others} are of another configuration"] if taken.others else []
    return ", ".join([f"{taken.runs} runs", *rest])


def _check_nothing_lost(out: Path, source: Path) -> None:
    """Raise ExportError if an export in `out` has runs that `source` has not."""
    if (out / schemas.RUNS).exists():
        before, after = (
            set(pq.read_table(folder / schemas.RUNS)["run"].to_pylist()) for folder in (out, source)
        )
        if lost := before - after:
            raise ExportError(
                f"{out}: has {len(lost)} runs that would be lost; give it as a part, or another --out"
            )


def _with_choices(
    parts: Sequence[Path], config: Sequence[Path], overrides: Sequence[str], path: Path
) -> Campaign:
    """The campaign with the parts' choices of its searches, which are written to `path`.

    Raises ConfigError if a part's file of choices cannot be used, or if no part has the choice of a search.
    """
    found: choice.Choices = {}
    for part in parts:
        known = choice.read(part / TUNED)
        for dataset, labels in _load(config, overrides, part / TUNED).tuned.items():  # which checks them
            for label in labels:
                choices = found.setdefault(dataset, {})
                own = known[dataset][label]
                if choices.setdefault(label, own).values != own.values:
                    problem = f"another choice for {label} on {dataset} than in an earlier part"
                    complain(f"sign-ablate: warning: {part / TUNED}: {problem}; its runs are left out")
    choice.write(path, found)
    campaign = _load(config, overrides, path)
    if unknown := choice.missing(campaign, path.parent):
        where = ", ".join(str(part / TUNED) for part in parts)
        raise ConfigError(f"{where}: {unknown}; make it with snakemake tune, and export it as another part")
    return campaign


def _load(config: Sequence[Path], overrides: Sequence[str], tuned: Path) -> Campaign:
    return load_campaign(config, [*overrides, f"tuning.file={json.dumps(str(tuned), ensure_ascii=False)}"])


def _origin(part: Path) -> dict[str, Any]:
    """Content of a part's provenance.json; empty without one. Raises ExportError if it is damaged."""
    path = part / PROVENANCE
    try:
        return _ORIGIN.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise ExportError(f"{path}: damaged ({reason}); restore it, or delete it") from None


def _provenance(
    parts: Sequence[Path],
    config: Sequence[Path],
    overrides: Sequence[str],
    taken: Sequence[tables.Taken],
    origins: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Content of provenance.json: those of the parts, with the number of runs taken from each."""
    words = [*parts, *(word for path in config for word in ("-c", path))]
    words += [word for text in overrides for word in ("--set", text)]
    return {
        "command": f"sign-ablate merge {shlex.join(map(str, words))}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "parts": [{"runs_taken": each.runs, **origin} for each, origin in zip(taken, origins, strict=True)],
    }
