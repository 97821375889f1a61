"""`sign-ablate plan --profile`: submissions and hours, by the profile and by past runs."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.store.layout import data_file
from sign_ablate.terminal import estimate
from sign_ablate.terminal.cluster import Profile, cost, read_profile
from sign_ablate.terminal.plan import plan
from tests.conftest import ROOT


def profile(folder: Path, text: str) -> Profile:
    (folder / "config.yaml").write_text(text)
    return read_profile(folder)


def test_profile_of_the_repository() -> None:
    found = read_profile(ROOT / "profiles/slurm")
    assert (found.jobs, found.runs, found.minutes) == (50, 1, 240)
    assert {*found.groups.values()} == {"tail"}


@pytest.mark.parametrize(
    "resources",
    ["set-resources: {train: {runtime: 90}}", "set-resources: [train:runtime=90, train:mem_mb=9]",
     "set-resources: train:runtime=1.5h", "default-resources: [runtime=90]",
     "default-resources: {runtime: 90m}", "set-resources: {train: {runtime: attempt * 90}}",
     "set-resources: ['train:runtime=min(30+60*attempt,240)']",
     "default-resources: {runtime: \"f'{90*attempt}m'\"}"],
)  # fmt: skip
def test_limit_of_a_run_in_every_form_that_snakemake_reads(resources: str, tmp_path: Path) -> None:
    assert profile(tmp_path, f"executor: slurm\njobs: 3\n{resources}\n").minutes == 90


def test_runs_share_submissions_where_the_profile_groups_them(tmp_path: Path) -> None:
    text = "executor: slurm\njobs: 3\ngroups: [train=cells, table=tail]\ngroup-components: [cells=4]\n"
    assert profile(tmp_path, text).runs == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: 3", "has no executor, so nothing is submitted; name the profile of a cluster"),
        ("executor: slurm\njobs: 0", "jobs = 0: must be a number of submissions, 1 or more"),
        ("executor: slurm\njobs: 1\ndefault-resources: {runtime: 3 weeks}",
         "runtime = '3 weeks': must be minutes, such as 4h (s, m, h, d), or an expression of attempt, "
         "such as attempt * 60"),
        ("executor: slurm\njobs: 1\nset-resources: {train: {runtime: input.size_mb * attempt}}",
         "runtime = 'input.size_mb * attempt': must be minutes, such as 4h (s, m, h, d), or an expression of "
         "attempt, such as attempt * 60"),
    ],
)  # fmt: skip
def test_unusable_profile_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/config.yaml: {message}"


def test_hours_by_the_limit_and_by_past_runs(tiny: dict[str, Any]) -> None:
    """Five runs of half an hour, one of which is not known, in submissions of two, two at a time."""
    campaign, seconds = parse_campaign({**tiny, "figures": {}}), [1800.0, 1800.0, None, 1800.0, 1800.0]
    groups = dict.fromkeys(("aggregate", "ledger", "table", "report_html"), "tail")
    grouped = Profile(Path("here"), jobs=2, runs=2, minutes=40, groups=groups)
    assert cost(grouped, campaign, seconds, "cuda", data_files=1) == [
        "here: 5 submissions: 1 for data, 3 for training, 2 runs each, 1 after it; at most 2 at a time.",
        "Training has a limit of 80 minutes each, 4.0 hours in all.",
        "By past runs it takes 2.00 hours for 4 of 5 runs, and ends after 1.00 hours if no submission waits "
        "in the queue.",
    ]
    alone = Profile(Path("here"), jobs=2, runs=1, minutes=20, groups={}, expression="attempt * 20")
    assert cost(alone, campaign, [1800.0] * 3, "cpu", data_files=0) == [
        "here: 7 submissions: 0 for data, 3 for training, 4 after it; at most 2 at a time.",
        "Training has a limit of 20 minutes each, 1.0 hours in all (runtime: attempt * 20, in the first "
        "attempt).",
        "By past runs it takes 1.50 hours, and ends after 1.00 hours if no submission waits in the queue.",
        "A run takes 30 minutes, more than its limit: raise the runtime of train in here.",
    ]


def test_hours_of_short_runs_are_not_zero(tiny: dict[str, Any]) -> None:
    short = Profile(Path("here"), jobs=2, runs=1, minutes=1, groups={})
    _, limit, taken = cost(short, parse_campaign({**tiny, "figures": {}}), [9.0], "cpu", data_files=0)
    assert limit.endswith("under 0.1 hours in all.")
    assert taken.startswith("By past runs it takes under 0.01 hours, and ends after under 0.01 hours if no")


def test_plan_counts_the_data_that_are_missing(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "seconds", lambda *_: 60.0)
    campaign, slurm = parse_campaign(tiny), read_profile(ROOT / "profiles/slurm")
    runs = len(expand(campaign))
    lines = plan(campaign, tmp_path, profile=slurm).splitlines()
    assert f"{runs + 2} submissions: 1 for data, {runs} for training, 1 after it;" in lines[-3]
    assert not any("number of cores" in line for line in lines)
    path = data_file(tmp_path, expand(campaign)[0].data_id)
    path.parent.mkdir(parents=True)
    path.touch()
    assert "0 for data" in plan(campaign, tmp_path, profile=slurm)


@pytest.mark.parametrize(
    ("squeue", "sacct", "said"),
    [
        ("echo PENDING", "false", "running"),
        ("echo COMPLETED", "false", "success"),
        ("echo PREEMPTED", "false", "failed"),
        ("echo 'Invalid job id specified' >&2; exit 1", "echo '   PREEMPTED'", "failed"),
        ("echo 'Invalid job id specified' >&2; exit 1", "echo '   CANCELLED by 0'", "failed"),
        ("echo 'Invalid job id specified' >&2; exit 1", "echo '   RUNNING'", "running"),
        ("echo 'Invalid job id specified' >&2; exit 1", "false", "failed"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "echo FAILED", "running"),
    ],
)
def test_state_of_a_job_of_the_queue(squeue: str, sacct: str, said: str, tmp_path: Path) -> None:
    for name, text in (("squeue", squeue), ("sacct", sacct)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ROOT / "profiles/cluster-generic/queue-status"
    call = subprocess.run([script, "7"], env=environment, capture_output=True, text=True, check=True)
    assert call.stdout == f"{said}\n"
