"""Dry runs of a campaign that has never run: the one use of Snakemake that is not slow."""

import re
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from tests.workflow.conftest import make

pytestmark = pytest.mark.workflow


@pytest.mark.slow
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
        "claims.yaml: claims.dither-near-sgd.test.margin = 'nearr': unknown; did you mean near?"
    )


@pytest.mark.slow
def test_ranks_count_as_threads_and_gpus(config: dict[str, Any], tmp_path: Path) -> None:
    """Runs of 1, 2 and 3 workers, of which max_ranks: 2 leaves the last one to one process."""
    sgd = config["methods"]["sgd"] | {"workers": [1, 2, 3]}
    config |= {"methods": {"sgd": sgd}, "seeds": [0], "figures": {}}
    config["execution"] |= {"device": "cuda", "threads": 2, "max_ranks": 2}
    repository = make(tmp_path / "repository", config)
    output = repository.call("--dry-run", "--cores", "8", "--resources", "gpu=8").stdout
    found = re.findall(r"^rule train:.*?threads: (\d+).*?gpu=(\d+)", output, re.MULTILINE | re.DOTALL)
    assert sorted(found) == [("2", "1"), ("2", "1"), ("4", "2")]
