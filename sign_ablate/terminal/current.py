"""Campaigns that are running on this machine."""

from pathlib import Path

from pydantic import ValidationError

from sign_ablate.config.campaign import Campaign
from sign_ablate.jobs.campaign_lock import is_held
from sign_ablate.store.layout import RUNNING


def running(results: Path) -> list[Campaign]:
    """Campaigns below `results` that a Snakemake process on this machine is running, latest start first."""
    files = [path for path in results.glob(f"*/{RUNNING}") if is_held(path.parent)]
    found = []
    for path in sorted(files, key=_modified, reverse=True):
        try:
            found.append(Campaign.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):  # it ended a moment ago, or another version wrote it
            continue
    return found


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
