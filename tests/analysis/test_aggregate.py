"""Aggregation of synthetic run folders into tables."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import AggregateError, aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.config import Campaign
from sign_ablate.store import fingerprint, reading
from sign_ablate.store.layout import run_folder
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, PREDICTIONS, RUN, TIMING
from tests.analysis.conftest import METHODS, curve, make_campaign, write_run
from tests.conftest import write_outcome

WriteAll = Callable[[Campaign], None]
FILES = (schemas.EPOCHS, schemas.RUNS, schemas.SUMMARY, schemas.TIMES, schemas.PREDICTIONS)


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_summary_by_hand(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 3}, methods={"sgd": METHODS["sgd"]})
    for run, final in zip(expand(campaign), [0.90, 0.92, 0.94], strict=True):
        write_run(results, run, [0.1, final + 0.01, final])
    aggregate(campaign, results, tmp_path)
    (row,) = rows(tmp_path / schemas.SUMMARY)
    assert (row["dataset"], row["label"], row["n"], row["n_diverged"]) == ("digits", "sgd", 3, 0)
    assert row["mean"] == pytest.approx(0.92)
    assert row["sd"] == pytest.approx(0.02)
    assert row["ci_high"] - row["mean"] == pytest.approx(4.302653 * 0.02 / 3**0.5, abs=1e-7)
    assert row["mean"] - row["ci_low"] == pytest.approx(row["ci_high"] - row["mean"])
    assert row["best_mean"] == pytest.approx(0.93)
    assert (row["lowest"], row["highest"], row["n_damaged"]) == (0.90, 0.94, 0)


def test_rows_are_in_campaign_order_with_their_keys(
    results: Path, tmp_path: Path, write_all: WriteAll
) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    runs = rows(tmp_path / schemas.RUNS)
    assert [row["run"] for row in runs] == [run.id for run in expand(campaign)]
    labels = ["sgd", "signsgd-m", "pre-dither alpha=0.1", "pre-dither alpha=0.5", "hybrid t_switch=2"]
    assert [row["label"] for row in rows(tmp_path / schemas.SUMMARY)] == labels
    keys = ("optimizer", "lr0", "alpha", "site", "t_switch", "seed")
    assert [runs[2][key] for key in keys] == ["dithered", 0.001, 0.1, "pre", None, 0]
    assert [runs[-1][key] for key in keys] == ["hybrid", 0.001, None, None, 2, 2]
    epochs = rows(tmp_path / schemas.EPOCHS)
    assert [row["run"] for row in epochs] == [run.id for run in expand(campaign) for _ in range(4)]
    assert [row["epoch"] for row in epochs[:5]] == [1, 2, 3, 4, 1]
    finals = {row["run"]: row["test_acc"] for row in epochs if row["epoch"] == 4}
    assert finals == {row["run"]: row["final_test_acc"] for row in runs}


def test_diverged_seeds_are_counted_not_averaged(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 2}, methods={"sgd": METHODS["sgd"]})
    first, second, third = expand(campaign)
    write_run(results, first, [0.5, 0.9])
    write_run(results, second, [0.99], diverged_at=17)
    write_run(results, third, [], diverged_at=3)
    aggregate(campaign, results, tmp_path)
    (row,) = rows(tmp_path / schemas.SUMMARY)
    assert (row["n"], row["n_diverged"], row["mean"]) == (3, 2, 0.9)
    assert row["sd"] is row["ci_low"] is row["ci_high"] is None
    runs = rows(tmp_path / schemas.RUNS)
    assert [row["status"] for row in runs] == ["finished", "diverged", "diverged"]
    assert [row["diverged_at_step"] for row in runs] == [None, 17, 3]
    assert [row["epochs"] for row in runs] == [2, 1, 0]
    assert [row["final_test_acc"] for row in runs] == [0.9, None, None]
    assert [row["best_test_acc"] for row in runs] == [0.9, 0.99, None]


def test_all_seeds_diverged(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(methods={"sgd": METHODS["sgd"]})
    for run in expand(campaign):
        write_run(results, run, [], diverged_at=1)
    aggregate(campaign, results, tmp_path)
    (row,) = rows(tmp_path / schemas.SUMMARY)
    assert (row["n"], row["n_diverged"], row["mean"], row["best_mean"]) == (3, 3, None, None)
    assert rows(tmp_path / schemas.EPOCHS) == []


def test_one_seed_has_no_interval(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    campaign = make_campaign(seeds=[5])
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    for row in rows(tmp_path / schemas.SUMMARY):
        assert row["n"] == 1
        assert row["mean"] > 0.8
        assert row["sd"] is row["ci_low"] is row["ci_high"] is None


def test_missing_runs_are_one_error(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    campaign = make_campaign()
    write_all(campaign)
    gone = expand(campaign)[2:7]
    for run in gone:
        (run_folder(results, run.id) / METRICS).unlink()
    with pytest.raises(AggregateError) as error:
        aggregate(campaign, results, tmp_path / "out")
    assert "5 of 15 runs missing" in str(error.value)
    assert gone[0].id in str(error.value)
    assert "2 more" in str(error.value)
    assert not (tmp_path / "out").exists()
    aggregate(campaign, results, tmp_path / "out", partial=True)
    counts = {row["label"]: row["n"] for row in rows(tmp_path / "out" / schemas.SUMMARY)}
    assert counts == {
        "sgd": 2, "signsgd-m": 2, "pre-dither alpha=0.1": 2, "pre-dither alpha=0.5": 2, "hybrid t_switch=2": 2
    }  # fmt: skip


def test_partial_keeps_a_cell_without_runs_and_needs_one_run(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 1}, methods={key: METHODS[key] for key in list(METHODS)[:3]})
    with pytest.raises(AggregateError, match="none of the campaign's 12 runs"):
        aggregate(campaign, results, tmp_path, partial=True)
    write_run(results, expand(campaign)[0], [0.5])
    aggregate(campaign, results, tmp_path, partial=True)
    summary = rows(tmp_path / schemas.SUMMARY)
    assert [row["n"] for row in summary] == [1, 0, 0, 0]
    assert summary[1]["mean"] is None


def test_a_removed_method_is_invisible(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    write_all(make_campaign())
    fewer = make_campaign(methods={"sgd": METHODS["sgd"], "hybrid": METHODS["hybrid"]})
    aggregate(fewer, results, tmp_path)
    for name in FILES:
        assert {row["method"] for row in rows(tmp_path / name)} == {"sgd", "hybrid"}


def test_the_same_bytes_twice_whatever_the_times(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path / "a")
    for run in expand(campaign):
        (run_folder(results, run.id) / TIMING).unlink()
        (run_folder(results, run.id) / ENVIRONMENT).unlink()
    aggregate(campaign, results, tmp_path / "b")
    for name in (schemas.EPOCHS, schemas.RUNS, schemas.SUMMARY, schemas.PREDICTIONS, schemas.CAMPAIGN):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not list(tmp_path.glob("*/*.tmp"))
    assert rows(tmp_path / "b" / schemas.TIMES)[0]["device"] is None


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as unchanged from the moment they are written."""
    monkeypatch.setattr("sign_ablate.analysis.collect._UNSETTLED_SECONDS", -60.0)


@pytest.mark.usefixtures("settled")
def test_runs_that_have_not_changed_are_not_read_again(
    results: Path, tmp_path: Path, write_all: WriteAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    first = {name: (tmp_path / name).read_bytes() for name in FILES}
    changed = expand(campaign)[3]
    read, actual = [], reading.metrics
    monkeypatch.setattr(reading, "metrics", lambda folder: read.append(folder.name) or actual(folder))
    aggregate(campaign, results, tmp_path)
    assert read == []
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == first
    write_run(results, changed, curve(0.5, 4))
    aggregate(campaign, results, tmp_path)
    assert read == [changed.id]
    assert rows(tmp_path / schemas.RUNS)[3]["final_test_acc"] == pytest.approx(0.5)
    aggregate(campaign, results, tmp_path)
    assert read == [changed.id]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", [METRICS, RUN, PREDICTIONS])
def test_damage_is_noticed_after_a_run_was_read(
    name: str, results: Path, tmp_path: Path, write_all: WriteAll
) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    path = run_folder(results, expand(campaign)[0].id) / name
    times, size = path.stat(), path.stat().st_size
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times
    with pytest.raises(AggregateError, match=f"{name}: damaged"):
        aggregate(campaign, results, tmp_path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0 and no more", None])
def test_what_was_kept_is_not_needed(
    content: bytes | None, results: Path, tmp_path: Path, write_all: WriteAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    first = (tmp_path / schemas.EPOCHS).read_bytes()
    if content is None:  # kept by other code
        monkeypatch.setattr(fingerprint, "of_analysis", lambda: "0123456789ab")
    else:
        (tmp_path / schemas.KEPT).write_bytes(content)
    read, actual = [], reading.metrics
    monkeypatch.setattr(reading, "metrics", lambda folder: read.append(folder.name) or actual(folder))
    aggregate(campaign, results, tmp_path)
    assert len(read) == 15
    assert (tmp_path / schemas.EPOCHS).read_bytes() == first


def test_files_written_a_moment_ago_are_read_again(
    results: Path, tmp_path: Path, write_all: WriteAll
) -> None:
    """Two changes within the resolution of the file system's clock give the same time."""
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    assert not (tmp_path / schemas.KEPT).exists()


def test_times(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    row = rows(tmp_path / schemas.TIMES)[0]
    assert (row["train_seconds"], row["eval_seconds"], row["total_seconds"]) == (8.0, 2.0, 12.5)
    assert (row["images_per_second"], row["device"], row["git_commit"]) == (250.0, "cpu", "abc+")
    assert row["code"] == "0123456789ab"


def test_predictions(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 1}, methods={"sgd": METHODS["sgd"]}, seeds=[0, 1])
    finished, diverged = expand(campaign)
    write_run(results, finished, [0.8])
    write_run(results, diverged, [], diverged_at=3)
    aggregate(campaign, results, tmp_path)
    first, second = rows(tmp_path / schemas.PREDICTIONS)
    assert (first["run"], first["label"], first["seed"], first["images"]) == (finished.id, "sgd", 0, 10)
    bits = np.unpackbits(np.frombuffer(first["correct"], np.uint8), count=10)
    assert bits.tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 1, 1]
    assert (second["run"], second["images"], second["correct"]) == (diverged.id, None, None)


def test_predictions_take_at_most_2_kb_per_run(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 1}, methods={"sgd": METHODS["sgd"]}, seeds=list(range(20)))
    generator = random.Random(0)
    for run in expand(campaign):
        images = [{"predicted": generator.randrange(100), "correct": generator.random() < 0.6}
                  for _ in range(10_000)]  # fmt: skip
        write_outcome(write_run(results, run, [0.8]), run, [{"epoch": 1, "step": 1, "test_acc": 0.6}],
                      None, images)  # fmt: skip
        assert (run_folder(results, run.id) / PREDICTIONS).stat().st_size < 12_500
    aggregate(campaign, results, tmp_path)
    assert (tmp_path / schemas.PREDICTIONS).stat().st_size < 20 * 2000


def test_every_column_is_described_and_versioned(results: Path, tmp_path: Path, write_all: WriteAll) -> None:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path)
    for name in FILES:
        schema = pq.read_schema(tmp_path / name)
        assert schema.metadata[b"schema_version"] == str(schemas.TABLES_VERSION).encode()
        assert all(field.metadata[b"description"] for field in schema)


def test_labels_that_look_the_same_are_not_one_cell(
    results: Path, tmp_path: Path, write_all: WriteAll
) -> None:
    campaign = make_campaign(methods={"sgd": {"optimizer": "sgd", "lr": [0.12345678, 0.12345679]}})
    write_all(campaign)
    with pytest.raises(AggregateError, match="two cells"):
        aggregate(campaign, results, tmp_path)


def test_import_is_light() -> None:
    code = (
        "import sys, sign_ablate.analysis.aggregate as _;"
        "print(sorted({'torch', 'seaborn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
