"""`sign-ablate outdated`: runs and data files that were made by a different version of the code."""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from sign_ablate.config.campaign import Campaign
from sign_ablate.store import fingerprint, layout
from sign_ablate.store.layout import ENVIRONMENT
from sign_ablate.tuning.search import all_runs


def outdated(campaign: Campaign, results: Path) -> list[Path]:
    """Data files and `metrics.parquet` files whose recorded code differs from today's or is unknown.

    The paths are written as in Snakemake, which takes them after `--forcerun`.
    """
    runs, today = all_runs(campaign), fingerprint.of_training()
    data = dict.fromkeys(layout.data_file(results, run.data_id) for run in runs)
    found = [path for path in data if path.exists() and data_code(path) != fingerprint.of_decoding()]
    files = (layout.metrics_file(results, run.id) for run in runs)
    return found + [path for path in files if path.exists() and code_of(path.parent) != today]


def data_code(path: Path) -> str | None:
    """Fingerprint that a data file recorded, or None if it has none or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["code"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def code_of(folder: Path) -> str | None:
    """Fingerprint that a run recorded, or None if its `environment.json` has none or cannot be read."""
    try:
        code = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8")).get("code")
    except (OSError, ValueError, AttributeError):
        return None
    return code if isinstance(code, str) else None
