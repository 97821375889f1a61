"""A damaged run, from Snakemake's side: calling it again repairs it."""

from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Repository
from tests.workflow.test_campaign import DOWNSTREAM

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


DAMAGES = ("metrics.parquet", "predictions.parquet", "run.json", "deleted run.json")


def test_damaged_runs_are_trained_again(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    """Four runs, each damaged in another way."""
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    folders = sorted(copy.folder.glob("results/runs/*"))[: len(DAMAGES)]
    before = {folder: (folder / "metrics.parquet").read_bytes() for folder in folders}
    victims = [folder / name.removeprefix("deleted ") for folder, name in zip(folders, DAMAGES, strict=True)]
    for victim, name in zip(victims, DAMAGES, strict=True):
        if name.startswith("deleted"):
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:1000])
    done = copy.call("--dry-run")
    for victim in victims:
        assert f"{victim.relative_to(copy.folder)}: damaged (" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert copy.jobs() == {"train": len(DAMAGES), **DOWNSTREAM}
    summary = "results/tiny/summary.parquet"
    copy.call(*(str((folder / "metrics.parquet").relative_to(copy.folder)) for folder in folders), summary)
    assert {folder: (folder / "metrics.parquet").read_bytes() for folder in folders} == before
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
