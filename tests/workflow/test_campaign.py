"""The tiny campaign through the report, and what reruns after a change: every promise a parsed dry run."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.store import layout
from tests.conftest import TINY, pids
from tests.workflow.conftest import Repository, make, wait_for_epoch

# One worker runs all of these: they share the finished campaign.
pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

RUNS = 20
#: everything downstream of the runs
DOWNSTREAM = {"aggregate": 1, "ledger": 1, "figure": 2, "table": 1, "report_html": 1}


def test_campaign_makes_every_product(finished: Repository) -> None:
    results = finished.folder / "results" / "tiny"
    for name in (
        *("epochs.parquet", "runs.parquet", "summary.parquet", "times.parquet", "predictions.parquet"),
        *("table1.md", "table1.tex", "table1.csv", "report.html"),
        *(f"figures/{figure}.{kind}" for figure in ("figure1", "figure2") for kind in ("svg", "png", "pdf")),
    ):
        assert (results / name).stat().st_size > 0, name
    assert pq.read_table(results / "runs.parquet").num_rows == RUNS
    assert pq.read_table(results / "epochs.parquet").num_rows == RUNS * 3
    summary = pq.read_table(results / "summary.parquet").to_pylist()
    assert [row["n"] for row in summary] == [2] * 10


def test_nothing_changed(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    assert finished.jobs() == {}


def test_one_alpha_changed(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"]["pre-dither"]["alpha"] = [0.02, 0.1]
    finished.configure(config)
    assert finished.jobs() == {"train": 2, **DOWNSTREAM}


def test_seed_added(finished: Repository, config: dict[str, Any]) -> None:
    config["seeds"] = [0, 1, 2]
    finished.configure(config)
    assert finished.jobs() == {"train": 10, **DOWNSTREAM}


def test_method_added(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"]["sgd-slow"] = {"optimizer": "sgd", "lr": 0.01}
    finished.configure(config)
    assert finished.jobs() == {"train": 2, **DOWNSTREAM}


def test_method_removed(finished: Repository, config: dict[str, Any]) -> None:
    del config["methods"]["adam"]
    finished.configure(config)
    assert finished.jobs() == DOWNSTREAM


def test_learning_rate_sweep_is_one_line(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"]["sgd"]["lr"] = [0.025, 0.05, 0.1]  # 0.05 is there already
    finished.configure(config)
    assert finished.jobs() == {"train": 4, **DOWNSTREAM}


def test_how_it_is_executed_changes_nothing(finished: Repository, config: dict[str, Any]) -> None:
    config["execution"] |= {"threads": 2, "checkpoint_seconds": 5}
    finished.configure(config)
    assert finished.jobs() == {}
    config["figures"].pop("figure2")
    finished.configure(config)
    assert "train" not in finished.jobs()


def test_comment_in_the_code(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    module = finished.folder / "sign_ablate" / "optim" / "signsgd.py"
    before = module.read_text()
    try:
        module.write_text(before + "\n# a comment\n")
        assert finished.jobs() == {}
    finally:
        module.write_text(before)


def test_numerics_version_bumped(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    module = finished.folder / "sign_ablate" / "__init__.py"
    before = module.read_text()
    try:
        module.write_text(before.replace("NUMERICS_VERSION = ", "NUMERICS_VERSION = 1 + "))
        assert finished.jobs() == {"prepare": 1, "train": RUNS, **DOWNSTREAM}
    finally:
        module.write_text(before)


def test_deleted_run_is_made_again(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    next(copy.folder.glob("results/runs/*/metrics.parquet")).unlink()
    assert copy.jobs()["train"] == 1


def test_vanished_data_are_made_again(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    """For a run that needs them; a campaign that is done needs none, and what is done stays done."""
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    (data,) = copy.folder.glob("results/data/*.npz")
    data.unlink()
    assert copy.jobs() == {}
    metrics = next(copy.folder.glob("results/runs/*/metrics.parquet"))
    before = metrics.read_bytes()
    metrics.unlink()
    name = str(metrics.relative_to(copy.folder))
    assert copy.jobs(name) == {"prepare": 1, "train": 1}
    assert copy.jobs() == {"prepare": 1, "train": 1, **DOWNSTREAM}
    copy.call(name)
    assert metrics.read_bytes() == before
    assert copy.jobs() == {}


@pytest.mark.parametrize("missing", [1, RUNS])
def test_killed_preparation_leaves_no_run_out(
    missing: int, finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """The run's file exists and is marked as incomplete: Snakemake was killed before it saw the job end."""
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    for metrics in sorted(copy.folder.glob("results/runs/*/metrics.parquet"))[:missing]:
        metrics.unlink()
    (data,) = copy.folder.glob("results/data/*.npz")
    mark = base64.b64encode(str(data.relative_to(copy.folder)).encode()).decode()
    assert (copy.folder / ".snakemake/metadata" / mark).exists()
    (copy.folder / ".snakemake/incomplete" / mark).touch()
    assert copy.jobs() == {"prepare": 1, "train": missing, **DOWNSTREAM}


def test_there_and_back_again_costs_nothing(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    summary = copy.folder / "results/tiny/summary.parquet"
    before = summary.read_bytes()
    config["methods"]["pre-dither"]["alpha"] = [0.02, 0.1]
    copy.configure(config)
    copy.call("results/tiny/summary.parquet")
    assert summary.read_bytes() != before
    copy.configure(TINY)
    assert copy.jobs() == DOWNSTREAM
    copy.call("results/tiny/summary.parquet")
    assert summary.read_bytes() == before


def test_removed_method_is_invisible(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "copy")
    del config["methods"]["adam"]
    copy.configure(config)
    copy.call("results/tiny/summary.parquet")
    assert len(list(copy.folder.glob("results/runs/*.adam.*"))) == 2  # the old files are there
    for name in ("summary", "runs", "epochs"):
        methods = pq.read_table(copy.folder / f"results/tiny/{name}.parquet")["method"].to_pylist()
        assert "adam" not in methods
        assert "sgd" in methods


def test_partial_takes_what_exists(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "copy")
    config["seeds"] = [0, 1, 2]
    copy.configure(config)
    jobs = copy.jobs("partial")
    assert "train" not in jobs
    copy.call("results/tiny/partial/summary.parquet")
    summary = pq.read_table(copy.folder / "results/tiny/partial/summary.parquet").to_pylist()
    assert [row["n"] for row in summary] == [2] * 10


def test_run_that_fails_stops_no_other(config: dict[str, Any], tmp_path: Path) -> None:
    """A folder in place of a run's folder cannot be written to; the other runs finish."""
    config["methods"] = {name: config["methods"][name] for name in ("sgd", "adam")}
    config |= {"figures": {}, "seeds": [0]}
    repository = make(tmp_path / "repository", config)
    runs = {run.cell.method: run.id for run in expand(parse_campaign(config))}
    blocked = repository.folder / "results/runs" / runs["sgd"]
    blocked.mkdir(parents=True)
    (blocked / "run.json.tmp").mkdir()
    done = repository.call(check=False)
    assert done.returncode != 0
    log = f"results/tiny/logs/train/{runs['sgd']}.log"
    lines = done.stderr.splitlines()
    start = lines.index(f"failed  synthetic  sgd  seed 0  {runs['sgd'][-10:]}")
    assert "run.json.tmp" in lines[start + 1]
    assert lines[start + 2] == f"  log: {log}"
    assert sum(runs["sgd"][-10:] in line for line in lines) == 3  # it is not tried again
    assert (repository.folder / "results/runs" / runs["adam"] / "metrics.parquet").exists()
    assert not (blocked / "metrics.parquet").exists()
    repository.call("results/tiny/partial/summary.parquet")
    (blocked / "run.json.tmp").rmdir()
    assert repository.jobs()["train"] == 1


@pytest.mark.parametrize("victim", ["job", "snakemake"])
def test_kill_half_way_leaves_nothing_that_counts(
    victim: str, config: dict[str, Any], tmp_path: Path
) -> None:
    config["methods"] = {"sgd": {"optimizer": "sgd", "lr": 0.05, "epochs": 150}}
    config |= {"figures": {}, "seeds": [0]}
    (run,) = expand(parse_campaign(config))
    name = str(layout.metrics_file(layout.RESULTS, run.id))
    undisturbed = make(tmp_path / "undisturbed", config)
    undisturbed.call(name)
    killed = make(tmp_path / "killed", config)
    log = layout.train_log(killed.folder / "results", "tiny", run.id)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", name],
        cwd=killed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for_epoch(log)
    if victim == "job":
        victims = pids(f"sign_ablate train.*{run.id} ")
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=300) == 0  # the rule tries it once more
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        assert not (killed.folder / name).exists()
        killed.call(name)  # no lock has stayed
    assert (killed.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()


def test_bad_configuration_stops_before_any_job(finished: Repository, config: dict[str, Any]) -> None:
    config["methods"]["sgd"]["lr"] = -0.1
    finished.configure(config)
    done = finished.call(check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[1:] == ["config.yaml: methods.sgd.lr = -0.1: must be greater than 0"]


def test_what_is_likely_a_mistake_is_said_once(finished: Repository, config: dict[str, Any]) -> None:
    config["train"]["batch_size"] = 100
    finished.configure(config)
    done = finished.call("--dry-run")
    warning = "train.batch_size = 100: every step takes all 96 training images of synthetic"
    assert (done.stdout + done.stderr).splitlines().count(warning) == 1


def test_configuration_file_replaces_the_default(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    other = {**TINY, "campaign": "other", "figures": {}, "methods": {"sgd": {"optimizer": "sgd", "lr": 0.3}}}
    path = finished.folder / "other.yaml"
    path.write_text(json.dumps(other))
    jobs = finished.jobs("--configfile", "other.yaml")
    assert jobs == {"train": 2, "aggregate": 1, "ledger": 1, "table": 1, "report_html": 1}
    assert finished.jobs("--configfile", "other.yaml", "--config", "seeds=[5]")["train"] == 1
    assert finished.jobs("--config", "methods__sgd__lr=3e-1", "execution__threads=2")["train"] == 2


def test_gpu_runs_ask_for_a_gpu(finished: Repository, config: dict[str, Any]) -> None:
    config["execution"]["device"] = "cuda"
    config["seeds"] = [9]
    finished.configure(config)
    output = finished.call("--dry-run").stdout
    assert len(re.findall("^    resources: .*gpu=1", output, re.MULTILINE)) == 10
    config["execution"]["device"] = "cpu"
    finished.configure(config)
    output = finished.call("--dry-run").stdout
    assert len(re.findall("^    resources: .*gpu=0", output, re.MULTILINE)) == 10


def test_failed_notebook_can_be_read(finished: Repository, config: dict[str, Any], tmp_path: Path) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    notebook = copy.folder / "notebooks" / "dithering.ipynb"
    notebook.write_text(notebook.read_text().replace("figures.dithering(", "figures.no_such_figure("))
    done = copy.call("results/tiny/figures/figure1.png", check=False)
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    start = lines.index("failed  figure figure1")
    assert "no_such_figure" in lines[start + 1]
    assert lines[start + 2] == "  log: results/tiny/logs/notebooks/figure1.log"
    assert len(lines) < 20  # not the notebook's JSON
    executed = (copy.folder / "results/tiny/logs/notebooks/figure1.ipynb").read_text()
    assert "AttributeError" in executed
    assert not (copy.folder / "results/tiny/figures/figure1.png").exists()


def test_snakemake_report_works_offline(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    finished.call("--report", "report.html")
    assert (finished.folder / "report.html").stat().st_size > 100_000


def test_rebuilt_from_its_exported_tables_alone_it_is_the_same(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    """The tables come from another folder than the runs and the data, and no file of a run is read."""
    finished.configure(config)

    def call(*arguments: str) -> str:
        line = [sys.executable, "-m", "sign_ablate", *arguments]
        done = subprocess.run(line, cwd=finished.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    kept = tmp_path / "reference" / "tiny"
    call("export", "--out", str(kept))
    said = call("rebuild", str(kept), "--results", str(tmp_path))
    assert said.endswith(f"the ledger is that of {kept}, byte for byte\n")
    made, rebuilt = finished.folder / "results/tiny", tmp_path / "rebuilt/tiny"
    for name in ("explore.html", "table1.md", "figures/figure1.png", "figures/figure2.svg"):
        assert (rebuilt / name).read_bytes() == (made / name).read_bytes(), name
    reports = [(folder / "report.html").read_text() for folder in (made, rebuilt)]
    first, second = (re.sub('id="cell-id=[^"]*"', "", report) for report in reports)  # one is random
    assert first == second
    exported = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    pq.write_table(pq.read_table(kept / "claims.parquet").slice(1), kept / "claims.parquet")
    for name in ("table1.md", "figures/figure1.png", "figures/ledger.png"):
        (kept / name).write_bytes(b"of other claims")
    call("rebuild", str(kept), "--results", str(tmp_path), "--update")
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == exported
