"""Both stages of a campaign that tunes: what runs after which change, and what a kill leaves."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.test_tuning import TUNED
from tests.workflow.conftest import Repository, environment, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("tuning")]

CHOICES = "results/tuned/tuned.json"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """TUNED after both stages. Tests may change its config.yaml, and leave its results as they are."""
    repository = make(tmp_path_factory.mktemp("tuned"), TUNED)
    first = repository.call()
    assert "no choice yet for sgd, pre alpha=0.01, pre alpha=0.1" in first.stderr
    assert not (repository.folder / "results/tuned/runs.parquet").exists()
    repository.call()
    return repository


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(TUNED)


def test_nothing_is_left_after_the_second_call(tuned: Repository, config: dict[str, Any]) -> None:
    tuned.configure(config)
    assert tuned.jobs() == {}
    assert tuned.jobs("tune") == {"tune": 1}  # it only prints where the choices are


def test_wider_space_runs_its_trials_and_the_choice(tuned: Repository, config: dict[str, Any]) -> None:
    config["tuning"]["spaces"]["sgd"]["lr"] = [0.001, 1]
    tuned.configure(config)
    assert tuned.jobs() == {"train": 2, "choose": 1}


def test_more_trials_keep_those_that_there_are(tuned: Repository, config: dict[str, Any]) -> None:
    config["tuning"]["trials"] = 3
    tuned.configure(config)
    assert tuned.jobs() == {"train": 3, "choose": 1}


@pytest.fixture
def again(tuned: Repository, tmp_path: Path) -> Repository:
    return tuned.copy(tmp_path / "again")


def _choose(repository: Repository, cell: str, trial: int) -> None:
    """Make another trial the choice, as a new result would."""
    path = repository.folder / CHOICES
    found = json.loads(path.read_text())
    choice = found["toy"][cell]
    choice["values"], choice["trials"][trial]["val_acc"], choice["val_acc"] = (
        choice["trials"][trial]["values"],
        1.0,
        1.0,
    )
    path.write_text(json.dumps(found))


def test_new_winner_runs_the_cells_that_take_its_values(again: Repository, config: dict[str, Any]) -> None:
    again.configure(config)
    before = (again.folder / CHOICES).read_bytes()
    chosen = json.loads(before)["toy"]["pre alpha=0.1"]
    winner = [trial["values"] for trial in chosen["trials"]].index(chosen["values"])
    _choose(again, "pre alpha=0.1", 1 - winner)
    jobs = again.jobs()
    assert jobs.pop("train") == 4  # the cell itself and `tuned_as`, two seeds each
    assert set(jobs) == {"aggregate", "ledger", "table", "tuning_figures", "report_html"}
    (again.folder / CHOICES).write_bytes(before)  # the same winner again, as the job writes it
    assert again.jobs() == {}


def test_deleted_choices_are_made_again_from_the_trials(again: Repository, config: dict[str, Any]) -> None:
    again.configure(config)
    before = (again.folder / CHOICES).read_bytes()
    (again.folder / CHOICES).unlink()
    assert again.jobs() == {"choose": 1}
    again.call("tune")
    assert (again.folder / CHOICES).read_bytes() == before
    assert again.jobs() == {}


def test_referee_evaluates_with_committed_choices(
    tuned: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """Without the trials, and with a file of choices elsewhere."""
    (tmp_path / "tuned.json").write_bytes((tuned.folder / CHOICES).read_bytes())
    config["tuning"]["file"] = str(tmp_path / "tuned.json")
    referee = make(tmp_path / "referee", config)
    jobs = referee.jobs()
    assert (jobs["prepare"], jobs["train"]) == (1, 10)
    assert "choose" not in jobs
    found = json.loads((tmp_path / "tuned.json").read_text())
    unconverged = found["toy"]["pre alpha=0.1"]
    for part in (unconverged, *unconverged["trials"]):
        part["val_acc"] = None
    unconverged["values"] = None
    (tmp_path / "tuned.json").write_text(json.dumps(found))
    assert referee.jobs()["train"] == 6  # without the cell and `tuned_as`, two seeds each


def test_partial_works_before_the_choice(tmp_path: Path, config: dict[str, Any]) -> None:
    repository = make(tmp_path / "early", config)
    fixed = {**config, "methods": {"preset": config["methods"]["preset"]}, "tuning": None}
    repository.configure(fixed)
    repository.call()
    repository.configure(config)
    repository.call("partial")
    assert (repository.folder / "results/tuned/partial/table1.md").exists()


def test_killed_at_any_stage_it_ends_with_the_same_bytes(tuned: Repository, tmp_path: Path) -> None:
    repository = make(tmp_path / "killed", TUNED)
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    for seconds in (5, 9):
        process = subprocess.Popen(
            command, cwd=repository.folder, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(2):
        repository.call()
    assert repository.jobs() == {}
    tables = [f"results/tuned/{table}.parquet" for table in ("epochs", "runs", "summary")]
    for name in [CHOICES, *tables]:
        assert (repository.folder / name).read_bytes() == (tuned.folder / name).read_bytes(), name
