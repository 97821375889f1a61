"""`sign-ablate merge`: an exported campaign from the exports of its parts."""

import datetime
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sign_ablate.analysis import merge as tables
from sign_ablate.campaign.identity import campaign_spec
from sign_ablate.config import Campaign, ConfigError, load_campaign, parse_campaign
from sign_ablate.store import layout
from sign_ablate.terminal.export import PROVENANCE, TUNED, check_out, keep
from sign_ablate.terminal.rebuild import checked, rebuild_one
from sign_ablate.tuning import choice


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
    for part in parts:
        checked(part)
    campaign = load_campaign(config, overrides, results)
    out = out or layout.reference_folder(results) / campaign.campaign
    check_out(out)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        if campaign.tuning is not None:
            campaign = _with_choices(parts, config, overrides, source / TUNED)
        taken = tables.merge(parse_campaign(json.loads(campaign_spec(campaign))), parts, source)
        rebuilt = layout.rebuilt_folder(results) / campaign.campaign
        rebuild_one(source, campaign, rebuilt)
        origin = _provenance(parts, taken)
        lines = [f"{part}: {count} runs" for part, count in zip(parts, taken, strict=True)]
        return "\n".join([*lines, keep(campaign, rebuilt, source / TUNED, origin, out)])


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
                found.setdefault(dataset, {}).setdefault(label, known[dataset][label])
    choice.write(path, found)
    campaign = _load(config, overrides, path)
    if unknown := choice.missing(campaign, path.parent):
        where = ", ".join(str(part / TUNED) for part in parts)
        raise ConfigError(f"{where}: {unknown}; make it with snakemake tune, and export it as another part")
    return campaign


def _load(config: Sequence[Path], overrides: Sequence[str], tuned: Path) -> Campaign:
    return load_campaign(config, [*overrides, f"tuning.file={json.dumps(str(tuned))}"])


def _provenance(parts: Sequence[Path], taken: Sequence[int]) -> dict[str, Any]:
    """Content of provenance.json: those of the parts, with the number of runs taken from each."""
    return {
        "command": f"sign-ablate merge {' '.join(shlex.quote(str(part)) for part in parts)}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "parts": [
            {"runs_taken": count, **(json.loads(path.read_text()) if path.exists() else {})}
            for count, path in zip(taken, (part / PROVENANCE for part in parts), strict=True)
        ],
    }
