"""The theory lab in Snakemake: apart from campaigns, and rerun by what changed."""

from pathlib import Path
from typing import Any

import pytest

from sign_ablate.theory import EXPERIMENTS
from tests.workflow.conftest import make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("tuning")]

FAST = ["results/theory/dither.parquet", "results/theory/projection.parquet"]


def test_lab_needs_no_campaign_and_runs_again_only_what_changed(
    config: dict[str, Any], tmp_path: Path
) -> None:
    repository = make(tmp_path / "lab", config)
    jobs = {"theory_experiment": len(EXPERIMENTS), "theory_claims": 1, "theory_figures": 1, "theory": 1}
    assert repository.jobs("theory") == jobs
    repository.call(*FAST)
    assert sorted(path.name for path in (repository.folder / "results").iterdir()) == ["theory"]
    assert repository.jobs(*FAST) == {}

    def edit(name: str, text: str) -> None:
        with (repository.folder / "sign_ablate" / name).open("a") as file:
            file.write(text)

    edit("theory/equations.py", "# a comment\n")
    repository.configure({**config, "seeds": [5]})
    assert repository.jobs(*FAST) == {}
    edit("theory/dither.py", "EDITED = 1\n")
    assert repository.jobs(*FAST) == {"theory_experiment": 1}
