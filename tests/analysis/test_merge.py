"""Tables of a campaign from those of its parts, compared with the tables of all runs together."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import AggregateError, aggregate
from sign_ablate.analysis.merge import Taken, merge
from sign_ablate.campaign.grid import expand
from sign_ablate.config import Campaign
from sign_ablate.store.layout import run_folder
from sign_ablate.store.record import digest
from sign_ablate.store.run_files import PROBE, PROBE_SCHEMA, RUN, table_bytes
from tests.analysis.conftest import METHODS, curve, make_campaign, write_run

TABLES = [
    schemas.CAMPAIGN,
    schemas.EPOCHS,
    schemas.RUNS,
    schemas.SUMMARY,
    schemas.TIMES,
    schemas.PREDICTIONS,
    schemas.PROBES,
]


def probed(**changes: Any) -> Campaign:
    return make_campaign(train={"epochs": 4, "probe": [0]}, **changes)


@pytest.fixture
def results(results: Path) -> Path:
    """Runs of `probed()`; one diverged in its first epoch, one later."""
    for i, run in enumerate(expand(probed())):
        ends = {1: 3, 2: 25}.get(i)
        accuracies = curve(0.9 + 0.001 * i, 4)[: 4 if ends is None else ends // 10]
        folder = write_run(results, run, accuracies, ends)
        rows = [{"epoch": 0, "step": 0, "quantity": name, "value": float(i)} for name in ("snr", "lambda")]
        content = table_bytes(rows, PROBE_SCHEMA)
        (folder / PROBE).write_bytes(content)
        recorded = (folder / RUN).read_text().replace("{", f'{{"probe_sha256": "{digest(content)}", ', 1)
        (folder / RUN).write_text(recorded)
    return results


def made(campaign: Campaign, results: Path, out: Path) -> Path:
    aggregate(campaign, results, out, partial=True)
    return out


def test_parts_give_the_tables_of_the_whole_byte_for_byte(results: Path, tmp_path: Path) -> None:
    """One part has other labels, another order, and a method that the campaign does not have."""
    renamed = {"mine": METHODS["hybrid"], "more": {"optimizer": "lion", "lr": 0.1}, "sgd": METHODS["sgd"]}
    other = probed(campaign="other", seeds=[2, 1, 0], methods=renamed)
    lion = next(run for run in expand(other) if run.cell.label == "more")
    write_run(results, lion, curve(0.5, 4))
    whole = made(probed(), results, tmp_path / "whole")
    parts = [
        made(probed(seeds=[2, 0]), results, tmp_path / "seeds"),
        made(other, results, tmp_path / "methods"),
        whole,
    ]
    assert merge(probed(), parts, tmp_path / "out") == [Taken(10, 0, 0), Taken(2, 4, 1), Taken(3, 12, 0)]
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes(), name
    statuses = pq.read_table(whole / schemas.RUNS)["diverged_at_step"].to_pylist()
    assert statuses[:4] == [None, 3, 25, None]


def test_the_first_part_has_precedence(results: Path, tmp_path: Path) -> None:
    first = made(probed(), results, tmp_path / "first")
    run = expand(probed())[0]
    write_run(results, run, curve(0.1, 4))
    second = made(make_campaign(seeds=[0], train={"epochs": 4, "probe": [0]}), results, tmp_path / "second")
    merge(probed(), [second, first], tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / schemas.RUNS).to_pylist()
    assert rows[0]["final_test_acc"] == pytest.approx(0.1)
    merge(probed(), [first, second], first)  # onto a part
    assert pq.read_table(first / schemas.RUNS).to_pylist()[0]["final_test_acc"] == pytest.approx(0.9)


def test_missing_runs_have_an_empty_cell(results: Path, tmp_path: Path) -> None:
    part = made(probed(methods={"sgd": METHODS["sgd"]}), results, tmp_path / "part")
    assert merge(probed(), [part], tmp_path / "out") == [Taken(3, 0, 0)]
    summary = pq.read_table(tmp_path / "out" / schemas.SUMMARY).to_pylist()
    assert [row["n"] for row in summary] == [3, 0, 0, 0, 0]


def test_no_run_of_the_campaign(results: Path, tmp_path: Path) -> None:
    part = made(probed(), results, tmp_path / "part")
    with pytest.raises(AggregateError, match=rf"^{part}: none of the 5 runs of test is there$"):
        merge(probed(seeds=[9]), [part], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_table_of_another_version(results: Path, tmp_path: Path) -> None:
    part = made(probed(), results, tmp_path / "part")
    table = pq.read_table(part / schemas.TIMES)
    pq.write_table(table.drop_columns(["code"]), part / schemas.TIMES)
    with pytest.raises(AggregateError, match=r"times\.parquet: its columns are not those of this version"):
        merge(probed(), [part], tmp_path / "out")


def test_run_folders_are_not_needed(results: Path, tmp_path: Path) -> None:
    part = made(probed(), results, tmp_path / "part")
    for run in expand(probed()):
        (run_folder(results, run.id) / "metrics.parquet").unlink()
    assert merge(probed(), [part], tmp_path / "out") == [Taken(15, 0, 0)]


def test_part_whose_tables_are_of_different_runs(results: Path, tmp_path: Path) -> None:
    """A copy was cut short between two tables."""
    part = made(probed(), results, tmp_path / "part")
    table = pq.read_table(part / schemas.EPOCHS)
    pq.write_table(table.slice(4), part / schemas.EPOCHS)
    line = (
        rf"^{part}: epochs\.parquet and runs\.parquet differ in digits\..*; restore both, or export it again$"
    )
    with pytest.raises(AggregateError, match=line):
        merge(probed(), [part], tmp_path / "out")


def test_probes_of_an_earlier_configuration_are_deleted(results: Path, tmp_path: Path) -> None:
    part = made(probed(), results, tmp_path / "part")
    assert (part / schemas.PROBES).exists()
    plain = make_campaign(train={"epochs": 4})
    for run in expand(plain):
        write_run(results, run, curve(0.9, 4))
    made(plain, results, part)
    assert not (part / schemas.PROBES).exists()
