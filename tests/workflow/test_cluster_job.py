"""The Snakemake process inside a cluster's job, called as the executor plugins call it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.jobs import file_lock
from sign_ablate.store.layout import JOB_LOCK
from tests.workflow.conftest import Repository, environment, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def job(repository: Repository, run: str, forced: int = 0) -> "subprocess.Popen[str]":
    """Start the job of a run. The plugins give it --force."""
    command = [
        sys.executable, "-m", "snakemake", "--mode", "remote", "--target-jobs", f"train:run={run}",
        "--allowed-rules", "train", "--force", "--nolock", "--ignore-incomplete", "--no-hooks",
        "--cores", "1",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=repository.folder, env=environment() | {"SIGN_ABLATE_FORCED": str(forced)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def paths(repository: Repository, config: dict[str, Any]) -> tuple[str, Path, Path]:
    """First run of the campaign: its id, its metrics, and the log of its training.

    Training writes a new file of metrics. Snakemake sets the time of the file even if it is kept.
    """
    run = expand(parse_campaign(config))[0].id
    folder = repository.folder / "results"
    return run, folder / f"runs/{run}/metrics.parquet", folder / f"tiny/logs/train/{run}.log"


def test_second_job_waits_and_takes_the_finished_run(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """After a kill of Snakemake, the next call submits runs whose jobs are still in the queue."""
    repository = finished.copy(tmp_path / "copy")
    repository.configure(config)
    run, metrics, log = paths(repository, config)
    logged, made = log.read_text(), metrics.stat().st_ino
    first = file_lock.try_lock(metrics.with_name(JOB_LOCK))
    assert first is not None
    with job(repository, run) as second:
        assert second.stdout is not None
        while "another job is training this run" not in (line := second.stdout.readline()):
            assert line, "it did not wait"
        time.sleep(1)
        assert second.poll() is None
        assert log.read_text() == logged
        first.close()
        output = second.communicate(timeout=120)[0]
    assert second.returncode == 0, output
    assert metrics.stat().st_ino == made
    assert "is done: another process has trained it" in log.read_text()
    assert log.with_suffix(".before.log").read_text() == logged


def test_job_of_a_forced_run_trains_it_once(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    repository = finished.copy(tmp_path / "copy")
    repository.configure(config)
    run, metrics, log = paths(repository, config)
    now = time.time_ns()
    made = metrics.stat().st_ino
    for again in (True, False):  # the second is a job that an earlier Snakemake of the same call left
        with job(repository, run, forced=now) as process:
            output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        assert (metrics.stat().st_ino != made) == again
        made = metrics.stat().st_ino
        assert ("epoch 3/3" in log.read_text()) == again


def test_failing_job_is_not_tried_again_inside(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process tries it again. Both would make four attempts."""
    config["execution"] = {"device": "cuda"}
    repository = make(tmp_path / "repository", config)
    repository.call("--until", "prepare", "--config", "execution__device=cpu")
    run, _, log = paths(repository, config)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with job(repository, run) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "shows no CUDA device" in log.read_text()
    assert "Trying to restart" not in output
