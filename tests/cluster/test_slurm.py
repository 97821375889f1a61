"""Campaigns on a SLURM cluster of one node through profiles/slurm (make test-slurm)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.store.run_files import CHECKPOINT, ENVIRONMENT
from tests.cluster.conftest import CAMPAIGN, SECONDS, ClusterRepository, differences, ids, submissions, wait
from tests.conftest import TINY
from tests.workflow.conftest import make

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("slurm")]

#: three runs of half a minute and more on an idle core, so that there is time to disturb them
LONG: dict[str, Any] = {
    **CAMPAIGN,
    "seeds": [0],
    "methods": {
        "sgd": {"optimizer": "sgd", "lr": [0.04, 0.05], "epochs": 1000},
        "post-dither": {**TINY["methods"]["post-dither"], "epochs": 2500},
    },
    "figures": {},
    "execution": {"device": "cpu", "checkpoint_seconds": 2},
}


@pytest.fixture(scope="module")
def undisturbed(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LONG, done without a cluster."""
    done = make(tmp_path_factory.mktemp("undisturbed") / "repository", LONG)
    done.call()
    return done.folder


def repository(folder: Path, config: dict[str, Any], slurm: dict[str, str]) -> ClusterRepository:
    return ClusterRepository(make(folder / "repository", config).folder, "slurm", slurm)


def job_of(cluster: ClusterRepository, run: str) -> str:
    """SLURM's id of the newest job of a run that is pending or runs, or an empty text."""
    lines = cluster.command("squeue", "--noheader", "--sort=-i", "--format=%i|%k").splitlines()
    return next((line.split("|")[0] for line in lines if line.endswith(f"rule_train_wildcards_{run}")), "")


def trained(cluster: ClusterRepository, runs: list[str]) -> bool:
    return all((cluster.folder / f"results/runs/{run}/metrics.parquet").exists() for run in runs)


def test_campaign_and_one_changed_cell(
    campaign: dict[str, Any], slurm: dict[str, str], local: Path, tmp_path: Path
) -> None:
    cluster = repository(tmp_path, campaign, slurm)
    output = cluster.call().stdout
    assert submissions(output) == 1 + 4 + 1, output  # data, runs, and all that follows as one group
    assert differences(cluster.folder, local) == []
    kept = (cluster.folder / ".snakemake/slurm_logs/rule_train").glob("*/*.log")
    assert {path.parent.name for path in kept} == set(ids(campaign))

    campaign["methods"]["sgd"]["lr"] = 0.06
    cluster.configure(campaign)
    before = {path: path.stat().st_mtime_ns for path in cluster.folder.glob("results/runs/*/metrics.parquet")}
    assert submissions(cluster.call().stdout) == 2 + 1
    assert all(path.stat().st_mtime_ns == former for path, former in before.items())
    assert trained(cluster, ids(campaign))


@pytest.mark.parametrize("form", ["groups", "array"])
def test_several_runs_per_submission(
    form: str, campaign: dict[str, Any], slurm: dict[str, str], local: Path, tmp_path: Path
) -> None:
    """A changed cell submits its seeds alone, too."""
    cluster = repository(tmp_path, campaign, slurm)
    options = ["--slurm-array-jobs", "train"] if form == "array" else []
    if form == "groups":
        cluster.group(4)
    assert submissions(output := cluster.call(*options).stdout) == 1 + 1 + 1, output
    assert differences(cluster.folder, local) == []

    campaign["methods"]["sgd"]["lr"] = 0.06
    cluster.configure(campaign)
    before = {path: path.stat().st_mtime_ns for path in cluster.folder.glob("results/runs/*/metrics.parquet")}
    assert submissions(output := cluster.call(*options).stdout) == 1 + 1, output
    assert all(path.stat().st_mtime_ns == former for path, former in before.items())
    assert trained(cluster, ids(campaign))


def test_ranks_of_a_run_are_one_job(campaign: dict[str, Any], slurm: dict[str, str], tmp_path: Path) -> None:
    """A job with a CPU for each of two ranks has the bytes of two workers in one process."""
    method = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "aggregation": "vote", "workers": 2}
    campaign |= {"seeds": [0], "figures": {}, "methods": {"vote": method}}
    virtual = make(tmp_path / "virtual", campaign)
    virtual.call()
    campaign["execution"] = campaign["execution"] | {"max_ranks": 2}
    cluster = repository(tmp_path, campaign, slurm)
    assert submissions(cluster.call().stdout) == 1 + 1 + 1
    (run,) = ids(campaign)
    record = cluster.folder / f"results/runs/{run}/{ENVIRONMENT}"
    assert json.loads(record.read_text())["ranks"] == 2
    assert re.search(rf"NumCPUs=2 .*rule_train_wildcards_{run}", _jobs(cluster))
    assert differences(cluster.folder, virtual.folder) == []


def _jobs(cluster: ClusterRepository) -> str:
    """SLURM's jobs, one a line, with those that have ended."""
    return cluster.command("scontrol", "--oneliner", "show", "job")


def test_runs_are_queued_seed_by_seed(
    campaign: dict[str, Any], slurm: dict[str, str], tmp_path: Path
) -> None:
    cluster = repository(tmp_path, campaign, slurm)
    cluster.call("--until", "prepare")
    cluster.command(
        "scontrol", "update", "PartitionName=main", "State=DOWN"
    )  # it queues jobs, but starts none
    try:
        with cluster.start() as call:
            wait(lambda: len(cluster.command("squeue", "--noheader").splitlines()) == len(ids(campaign)))
            queue = cluster.command("squeue", "--noheader", "--sort=-p,i", "--format=%k").splitlines()
            call.kill()
    finally:
        cluster.command("scancel", "--user=root")
        cluster.command("scontrol", "update", "PartitionName=main", "State=UP")
    assert re.findall(r"\.s(\d)\.", "\n".join(queue)) == ["0", "0", "1", "1"]


def test_cancelled_requeued_and_timed_out_jobs_go_on(
    slurm: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    """One job is cancelled, one is queued again as after preemption, and one reaches its time limit."""
    cluster = repository(tmp_path, LONG, slurm)

    def has_checkpoint(run: str) -> bool:
        return (cluster.folder / f"results/runs/{run}/{CHECKPOINT}").exists()

    # SLURM looks at time limits every 30 s. It may kill a job that it queues again without a signal before.
    commands = (
        ["scancel", "{}"],
        ["scontrol", "requeue", "{}"],
        ["scontrol", "update", "JobId={}", "EndTime=now+1"],
    )
    with cluster.start() as call:
        left = dict(zip(ids(LONG), commands, strict=True))
        while left:
            wait(lambda: any(map(has_checkpoint, left)))
            run = next(filter(has_checkpoint, left))
            job = job_of(cluster, run)
            cluster.command(*(word.format(job) for word in left.pop(run)))
        output = call.communicate(timeout=SECONDS)[0]
    assert call.returncode == 0, output
    assert submissions(output) == 1 + 3 + 2 + 1, output  # SLURM itself submits again what is requeued
    for run in ids(LONG):
        assert "goes on from step" in cluster.log(run), run
    assert differences(cluster.folder, undisturbed) == []


def test_jobs_that_a_killed_snakemake_left_are_not_trained_twice(
    slurm: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    cluster = repository(tmp_path, LONG, slurm)
    runs = ids(LONG)
    logs = [cluster.folder / f"results/tiny/logs/train/{run}.log" for run in runs]
    with cluster.start() as call:
        wait(lambda: sum("epoch 5/" in cluster.log(run) for run in runs) == 2)
        call.kill()
    assert len(cluster.command("squeue", "--noheader").splitlines()) == 3  # two run, and one is pending
    output = cluster.call().stdout
    assert submissions(output) == 3 + 1, output
    assert differences(cluster.folder, undisturbed) == []
    for log in logs:
        before = log.with_suffix(".before.log").read_text()  # whole, and of one training
        epochs = [int(epoch) for epoch in re.findall(r"  epoch (\d+)/", before)]
        assert epochs == list(range(1, len(epochs) + 1)), before
        assert f"epoch {len(epochs)}/{len(epochs)} " in before
        assert "is done: another process has trained it" in log.read_text()
