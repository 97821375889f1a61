"""A dry run of a campaign that has never run: the one use of Snakemake that is not slow."""

from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from tests.workflow.conftest import make

pytestmark = pytest.mark.workflow


def test_fresh_campaign_needs_every_job(config: dict[str, Any], tmp_path: Path) -> None:
    jobs = make(tmp_path / "repository", config).jobs()
    assert jobs["train"] == len(expand(parse_campaign(config)))
    assert jobs["figure"] == len(config["figures"])
    assert jobs["aggregate"] == 1
