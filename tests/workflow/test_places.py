"""Working directories other than the repository: results lie below them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Repository, environment, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


@pytest.fixture
def repository(config: dict[str, Any], tmp_path: Path) -> Repository:
    """A repository whose own campaign is another one than the working directory's."""
    return make(tmp_path / "the repository", {**config, "campaign": "its-own"})


@pytest.fixture
def place(config: dict[str, Any], tmp_path: Path) -> Repository:
    """A working directory with a small campaign, and nothing else."""
    config["methods"] = {name: config["methods"][name] for name in ("sgd", "hybrid")}
    config |= {"campaign": "scratch", "seeds": [0], "figures": {"figure2": config["figures"]["figure2"]}}
    found = Repository(tmp_path / "scratch")
    found.folder.mkdir()
    found.configure(config)
    return found


def call(folder: Path, *arguments: str) -> str:
    line = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("by", ["--snakefile", "--directory"])
def test_campaign_in_another_folder(by: str, repository: Repository, place: Repository) -> None:
    snakefile = ["--snakefile", str(repository.folder / "Snakefile")]
    directory = ["--directory", str(place.folder)]
    where, arguments = (place, snakefile) if by == "--snakefile" else (repository, directory)
    call(where.folder, *arguments)
    results = place.folder / "results/scratch"
    for name in ("summary.parquet", "table1.md", "figures/figure2.png", "report.html"):
        assert (results / name).stat().st_size > 0, name
    assert not (repository.folder / "results").exists()
    assert "Nothing to be done" in call(where.folder, *arguments)
    assert "Nothing to be done" in call(place.folder, *snakefile)  # either way is the same campaign


def test_without_a_configuration_it_is_the_repositorys(repository: Repository, tmp_path: Path) -> None:
    snakefile = repository.folder / "Snakefile"
    (tmp_path / "empty").mkdir()
    output = call(tmp_path / "empty", "--snakefile", str(snakefile), "--dry-run")
    assert f"no config.yaml: using the campaign in {repository.folder / 'config.yaml'}" in output
    assert "results/its-own/" in output
    line = [sys.executable, "-m", "sign_ablate", "plan"]
    path = {**environment(), "PYTHONPATH": str(repository.folder)}
    plan = subprocess.run(line, cwd=tmp_path / "empty", env=path, capture_output=True, text=True, check=True)
    assert "synthetic  naive-switch" in plan.stdout
