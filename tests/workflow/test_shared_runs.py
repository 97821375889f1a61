"""Runs belong to no campaign: what is trained after names change, and by two Snakemakes at once."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.store import layout
from tests.conftest import TINY
from tests.workflow.conftest import Repository, environment, make
from tests.workflow.test_campaign import DOWNSTREAM

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

RESULTS = layout.RESULTS


def test_renamed_campaign_trains_nothing(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure({**config, "campaign": "renamed"})
    assert finished.jobs() == DOWNSTREAM


def test_renamed_labels_train_nothing(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"] = {f"my-{name}": method for name, method in config["methods"].items()}
    config["datasets"] = {"toy": config["datasets"]["synthetic"]}
    for figure in config["figures"].values():
        figure["dataset"] = "toy"
    finished.configure(config)
    assert finished.jobs() == DOWNSTREAM


def test_order_of_methods_trains_nothing(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"] = dict(reversed(config["methods"].items()))
    finished.configure(config)
    assert finished.jobs() == DOWNSTREAM


def test_campaign_that_shares_cells_trains_the_others(finished: Repository, config: dict[str, Any]) -> None:
    """Two methods of the finished campaign under other labels, and a rate of its own, as in a preset."""
    finished.configure(config)
    methods = {"a": config["methods"]["sgd"], "b": {**config["methods"]["adam"], "lr": [0.003, 0.01]}}
    other = {**config, "campaign": "other", "methods": methods, "figures": {}}
    (finished.folder / "other.yaml").write_text(json.dumps(other))
    jobs = finished.jobs("--configfile", "other.yaml")
    assert jobs == {"train": 2, "aggregate": 1, "ledger": 1, "table": 1, "report_html": 1}


def test_tables_of_a_campaign_have_its_own_labels(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    config["methods"] = {"baseline": config["methods"]["sgd"]}
    copy.configure({**config, "campaign": "renamed", "figures": {}})
    copy.call("results/renamed/summary.parquet")
    (renamed,) = pq.read_table(copy.folder / "results/renamed/summary.parquet").to_pylist()
    before = pq.read_table(copy.folder / "results/tiny/summary.parquet").to_pylist()[0]
    assert (renamed["method"], before["method"], renamed["n"]) == ("baseline", "sgd", 2)
    assert renamed["mean"] == before["mean"]


def test_runs_of_an_earlier_version_stay(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    old = copy.folder / "results/tiny/runs/synthetic.sgd.s0.0123456789"
    old.mkdir(parents=True)
    (old / "metrics.parquet").touch()
    done = copy.call("--dry-run")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "earlier version" in line]
    assert lines == [
        "results/tiny/runs: runs of an earlier version (1), which stored them by campaign. They are kept but "
        "not read; runs are now stored in results/runs."
    ]
    assert (old / "metrics.parquet").exists()


@contextlib.contextmanager
def snakemake(repository: Repository, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    with subprocess.Popen(
        command, cwd=repository.folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()  # where the test has failed


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


def test_two_campaigns_at_once_train_a_run_once(config: dict[str, Any], tmp_path: Path) -> None:
    """Both need runs that the other is training or has just trained, and the same data file."""
    config["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": [0.05, 0.04, 0.03, 0.02], "epochs": 60},
        "adam": {"optimizer": "adam", "lr": 0.003, "epochs": 300},
    }
    config |= {"figures": {}}
    repository = make(tmp_path / "repository", config)
    other = repository.folder / "other.yaml"
    methods = dict(reversed(config["methods"].items()))
    other.write_text(json.dumps({**config, "campaign": "other", "methods": methods}))
    with snakemake(repository) as one, snakemake(repository, "--configfile", "other.yaml") as two:
        outputs = {"tiny": one.communicate(timeout=300)[0], "other": two.communicate(timeout=300)[0]}
        assert one.returncode == two.returncode == 0, outputs
    runs = expand(parse_campaign(config))
    logs = {name: {run.id: train_log(repository, name, run.id) for run in runs} for name in outputs}
    trained = [sum("epoch 1/" in logs[name][run.id] for name in logs) for run in runs]
    assert trained == [1] * len(runs)
    taken = [text for texts in logs.values() for text in texts.values() if "is done: another process" in text]
    assert taken  # they were in each other's way
    made = [(repository.folder / f"results/{name}/logs/prepare").glob("*.log") for name in logs]
    assert sum("another process has made it" in log.read_text() for found in made for log in found) <= 1
    one_summary, two_summary = (
        {row["label"]: (row["n"], row["mean"]) for row in pq.read_table(path).to_pylist()}
        for path in (repository.folder / f"results/{name}/summary.parquet" for name in outputs)
    )
    assert one_summary == two_summary
    assert repository.jobs() == repository.jobs("--configfile", "other.yaml") == {}
    assert not list((repository.folder / ".snakemake/incomplete").iterdir())


def train_log(repository: Repository, campaign: str, run: str) -> str:
    return layout.train_log(repository.folder / RESULTS, campaign, run).read_text()


def test_what_goes_beside_a_campaign_that_runs(config: dict[str, Any], tmp_path: Path) -> None:
    """`partial` and dry runs do; a second Snakemake for the same tables does not."""
    config["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": 0.05, "epochs": 1},
        "adam": {"optimizer": "adam", "lr": 0.001, "epochs": 50_000},  # many minutes
    }
    config |= {"figures": {}, "seeds": [0]}
    repository = make(tmp_path / "repository", config)
    short, long = expand(parse_campaign(config))
    log = layout.train_log(repository.folder / RESULTS, "tiny", long.id)
    repository.call(str(layout.metrics_file(RESULTS, short.id)))  # two runs of one seed have no order
    with snakemake(repository) as campaign:
        wait(lambda: says(log, "epoch 5/"))
        repository.call("partial")
        partial = pq.read_table(repository.folder / "results/tiny/partial/summary.parquet").to_pylist()
        assert [row["n"] for row in partial] == [1, 0]
        assert (repository.folder / "results/tiny/partial/report.html").stat().st_size > 0
        assert repository.jobs()["train"] == 1
        refused = repository.call(check=False)
        assert refused.returncode == 1
        line = f"results/tiny: another Snakemake is at work on this campaign (process {campaign.pid} on "
        assert line in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr
        assert says(log, "epoch 6/")  # nothing of the first was touched
        with snakemake(repository, "--config", "campaign=another") as waiting:
            theirs = layout.train_log(repository.folder / RESULTS, "another", long.id)
            wait(lambda: says(theirs, "this job waits for it"))
            waiting.send_signal(signal.SIGTERM)
            waiting.communicate(timeout=60)
        assert says(theirs, "stopped by SIGTERM before it began")
        assert campaign.poll() is None
        campaign.terminate()
        campaign.communicate(timeout=60)
    assert (layout.run_folder(repository.folder / RESULTS, long.id) / layout.CHECKPOINT).exists()
    assert says(log, "a checkpoint is kept")


def test_forced_run_is_trained_again(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    (run, *_) = expand(parse_campaign(TINY))
    name = str(layout.metrics_file(RESULTS, run.id))
    before = (copy.folder / name).read_bytes()
    copy.call(name, "--forcerun", name)
    assert "epoch 3/3" in train_log(copy, "tiny", run.id)
    copy.call(name, "--force")
    assert "epoch 3/3" in train_log(copy, "tiny", run.id)
    assert (copy.folder / name).read_bytes() == before


def test_killed_snakemake_does_not_train_again_what_is_done(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """The run's file exists and is still marked as incomplete: Snakemake was killed before it saw the end."""
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    (run, *_) = expand(parse_campaign(TINY))
    name = str(layout.metrics_file(RESULTS, run.id))
    (mark,) = (p for p in (copy.folder / ".snakemake/metadata").iterdir() if decoded(p) == name)
    (copy.folder / ".snakemake/incomplete" / mark.name).touch()
    copy.call(name)
    assert "is done: another process has trained it" in train_log(copy, "tiny", run.id)
    assert "epoch" not in train_log(copy, "tiny", run.id)


def decoded(path: Path) -> str:
    import base64

    return base64.urlsafe_b64decode(path.name).decode()
