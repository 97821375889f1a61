"""compare, of summaries whose numbers are known."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sign_ablate.analysis.schemas import SUMMARY_SCHEMA
from sign_ablate.terminal.compare import NothingToCompareError, compare
from sign_ablate.terminal.sorting import Sort


def cell(dataset: str, label: str, mean: float | None, half: float | None = None, **values: Any) -> dict:
    low, high = (None, None) if half is None or mean is None else (mean - half, mean + half)
    known = {"dataset": dataset, "label": label, "mean": mean, "ci_low": low, "ci_high": high}
    return {**dict.fromkeys(SUMMARY_SCHEMA.names), "lr0": 0.1, "n": 3, "n_diverged": 0, **known, **values}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    tables = {
        "one": [cell("digits", "sgd", 0.97, 0.011), cell("cifar", "sgd", 0.5, n=1)],
        "two": [cell("digits", "adam", 0.985, 0.004, lr0=0.003), cell("digits", "wild", None, n_diverged=3)],
        "three/partial": [cell("cifar", "dithered α=0.1", 0.61, 0.02, n=2)],
    }
    for name, rows in tables.items():
        (tmp_path / name).mkdir(parents=True)
        table = pa.Table.from_pylist(rows, SUMMARY_SCHEMA)
        pq.write_table(table, tmp_path / name / "summary.parquet")
    (tmp_path / "data").mkdir()
    return tmp_path


def test_a_row_per_cell(results: Path) -> None:
    assert compare(results).splitlines() == [
        "campaign         data set  cell               lr          seeds  test %  ± 95 %",
        "three (partial)  cifar     dithered α=0.1    0.1              2   61.00       ·",
        "one              cifar     sgd               0.1              1   50.00       ·",
        "two              digits    adam            0.003              3   98.50    0.40",
        "one              digits    sgd               0.1              3   97.00    1.10",
        "two              digits    wild              0.1  3, 3 diverged       ·       ·",
    ]


@pytest.mark.parametrize(
    ("sort", "cells"),
    [
        (Sort.TEST, ["adam", "sgd", "dithered", "sgd", "wild"]),
        (Sort.CAMPAIGN, ["sgd", "sgd", "dithered", "adam", "wild"]),
        (Sort.CELL, ["dithered", "sgd", "adam", "sgd", "wild"]),
    ],
)
def test_sorted(sort: Sort, cells: list[str], results: Path) -> None:
    lines = [line.replace(" (partial)", "") for line in compare(results, sort=sort).splitlines()[1:]]
    assert [line.split()[2] for line in lines] == cells


def test_campaigns_by_name(results: Path) -> None:
    assert len(compare(results, ["two"]).splitlines()) == 3
    assert compare(results, ["two", "two"]) == compare(results, ["two"])
    with pytest.raises(NothingToCompareError, match=r"four: no summary.parquet.*: one, three, two\)"):
        compare(results, ["two", "four"])


def test_no_campaign_has_tables(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompareError, match="no campaign has tables yet"):
        compare(tmp_path)


def test_a_damaged_table_is_left_out(results: Path) -> None:
    (results / "two" / "summary.parquet").write_bytes(b"PAR1")
    *rows, note = compare(results).splitlines()
    assert len(rows) == 4
    assert note.startswith(f"{results / 'two' / 'summary.parquet'}: left out (")
