"""Campaigns through profiles/cluster-generic, on SLURM's sbatch and on task-spooler (make test-slurm)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import ClusterRepository, differences, ids, submissions, wait
from tests.workflow.conftest import make

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def plugin() -> None:
    if find_spec("snakemake_executor_plugin_cluster_generic") is None:
        pytest.skip("no snakemake-executor-plugin-cluster-generic")


@pytest.fixture
def task_spooler(plugin: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A queue of its own with two slots: the environment variables that select it."""
    if shutil.which("tsp") is None:
        pytest.skip("task-spooler is not installed")
    variables = {"SIGN_ABLATE_QUEUE": "task-spooler", "TS_SOCKET": str(tmp_path / "queue"), "TS_SLOTS": "2"}
    yield variables
    subprocess.run(["tsp", "-K"], env=os.environ | variables, check=False)


@pytest.fixture
def sbatch(plugin: None, slurm: dict[str, str]) -> dict[str, str]:
    return {**slurm, "SIGN_ABLATE_QUEUE": "sbatch"}


def generic(folder: Path, config: dict[str, Any], variables: dict[str, str]) -> ClusterRepository:
    return ClusterRepository(make(folder / "repository", config).folder, "cluster-generic", variables)


def test_task_spooler(
    campaign: dict[str, Any], task_spooler: dict[str, str], local: Path, tmp_path: Path
) -> None:
    cluster = generic(tmp_path, campaign, task_spooler)
    output = cluster.call().stdout
    assert submissions(output) == 1 + 4 + 1, output
    assert differences(cluster.folder, local) == []
    kept = [path.name for path in (cluster.folder / ".snakemake/queue_logs").iterdir()]
    assert all(f"train.{run}.log" in kept for run in ids(campaign)), kept


def test_cancelled_job_of_sbatch_is_tried_again(
    campaign: dict[str, Any], sbatch: dict[str, str], local: Path, tmp_path: Path
) -> None:
    """Without a status script, Snakemake would wait for it for ever. Jobs have the names of their runs."""
    cluster = generic(tmp_path, campaign, sbatch)
    first = ids(campaign)[0]
    with cluster.start() as call:
        queue = [
            "squeue",
            "--noheader",
            "--format=%i",
            f"--name=train.{first}",
        ]
        wait(lambda: cluster.command(*queue).strip() != "")
        cluster.command("scancel", *cluster.command(*queue).split())
        output = call.communicate(timeout=1200)[0]
    assert call.returncode == 0, output
    assert submissions(output) == 1 + 4 + 1 + 1, output
    assert differences(cluster.folder, local) == []
