"""A damaged run, from Snakemake's side: calling it again repairs it."""

from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Repository
from tests.workflow.test_campaign import DOWNSTREAM

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


@pytest.mark.parametrize("name", ["metrics.parquet", "predictions.parquet", "run.json", "deleted run.json"])
def test_a_damaged_run_is_trained_again(
    name: str, finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    victim = sorted(copy.folder.glob(f"results/runs/*/{name.removeprefix('deleted ')}"))[3]
    metrics = victim.with_name("metrics.parquet")
    before = metrics.read_bytes()
    if name == "deleted run.json":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:1000])
    done = copy.call("--dry-run")
    assert f"{victim.relative_to(copy.folder)}: damaged (" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert copy.jobs() == {"train": 1, **DOWNSTREAM}
    summary = "results/tiny/summary.parquet"
    copy.call(str(metrics.relative_to(copy.folder)), summary)
    assert metrics.read_bytes() == before
    assert (copy.folder / summary).read_bytes() == (finished.folder / summary).read_bytes()
    assert "train" not in copy.jobs()


def test_a_run_whose_environment_is_damaged(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """Results need none: the tables are made without, with a line, or the run is trained again."""
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    folder = sorted(copy.folder.glob("results/runs/*"))[5]
    (folder / "environment.json").write_text('{"seconds": 1')
    assert copy.jobs() == {}
    (copy.folder / "results/tiny/summary.parquet").unlink()
    copy.call("results/tiny/summary.parquet")
    said = (copy.folder / "results/tiny/logs/aggregate.log").read_text()
    assert f"{folder.relative_to(copy.folder)}/environment.json: damaged (" in said
    assert said.count("\n") == 1
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert copy.jobs()["train"] == 1
