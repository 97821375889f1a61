"""`sign-ablate outdated`: the runs that other code than today's has made."""

import json
from pathlib import Path

from sign_ablate.campaign.grid import expand
from sign_ablate.config.campaign import Campaign
from sign_ablate.store import fingerprint, layout
from sign_ablate.store.layout import ENVIRONMENT


def outdated(campaign: Campaign, results: Path) -> list[Path]:
    """The `metrics.parquet` of each run of other code, or whose code is not known, as Snakemake names it."""
    files = (layout.metrics_file(results, run.id) for run in expand(campaign))
    today = fingerprint.of_training()
    return [path for path in files if path.exists() and code_of(path.parent) != today]


def code_of(folder: Path) -> str | None:
    """The fingerprint that a run recorded; None where its `environment.json` has none, or cannot be read."""
    try:
        code = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8")).get("code")
    except (OSError, ValueError, AttributeError):
        return None
    return code if isinstance(code, str) else None
