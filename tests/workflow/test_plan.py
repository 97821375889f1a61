"""A dry run of a campaign that has never run: the one use of Snakemake that is not slow."""

from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from tests.workflow.conftest import make

pytestmark = pytest.mark.workflow


def test_fresh_campaign_needs_every_job(config: dict[str, Any], tmp_path: Path) -> None:
    repository = make(tmp_path / "repository", config)
    jobs = repository.jobs()
    assert jobs["train"] == len(expand(parse_campaign(config)))
    assert jobs["figure"] == len(config["figures"])
    assert jobs["aggregate"] == 1
    claims = repository.folder / "claims.yaml"
    claims.write_text(claims.read_text().replace("margin: near}", "margin: nearr}", 1))
    stopped = repository.call("--dry-run", check=False)
    assert stopped.returncode == 1
    (line,) = stopped.stderr.splitlines()[1:]
    assert line.startswith(
        f"{claims}: claims.dither-near-sgd.test.margin = 'nearr': unknown; did you mean near?"
    )
