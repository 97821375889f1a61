"""Damaged files of runs: one line with the file and what to do, and never a traceback or a wrong number."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import AggregateError, aggregate
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import Campaign
from sign_ablate.store import reading
from sign_ablate.store.layout import run_folder
from sign_ablate.store.record import DamagedError, set_damaged_aside
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, METRICS_SCHEMA, PREDICTIONS, RUN, TIMING
from sign_ablate.terminal.plan import plan
from sign_ablate.terminal.show import show
from sign_ablate.terminal.status import status
from tests.analysis.conftest import METHODS, curve, make_campaign, write_run
from tests.conftest import write_outcome

#: files that a result depends on, and those on its execution
FILES, EXECUTION = (METRICS, RUN, PREDICTIONS), (TIMING, ENVIRONMENT)
Damage = Callable[[bytes], bytes]


@pytest.fixture
def campaign() -> Campaign:
    return make_campaign(methods={"sgd": METHODS["sgd"]}, seeds=[0, 1])


@pytest.fixture
def run(campaign: Campaign, results: Path) -> Run:
    """The first of two runs, both done."""
    first, second = expand(campaign)
    for one in (first, second):
        write_run(results, one, curve(0.9, 4))
    return first


def foreign(_: bytes) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"epoch": [1], "loss": [0.5]}), out)
    return out.getvalue()


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 16
    return bytes(changed)


DAMAGES: dict[str, Damage] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "last byte": lambda content: flipped(content, -1),
    "other columns": foreign,
    "null": lambda _: b"null",
    "list": lambda _: b"[1, 2]",
    "text": lambda _: b'"finished"',
    "not UTF-8": lambda _: b'{"seconds": "\xff"}',
    "other types": lambda _: b'{"seconds": "long", "status": 1, "spec": null, "resolved": {"train": null}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_line_everywhere(
    name: str,
    damage: Damage,
    run: Run,
    campaign: Campaign,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = run_folder(results, run.id) / name
    path.write_bytes(damage(path.read_bytes()))

    lines = [line for line in status(campaign, results).splitlines() if str(path) in line]
    assert len(lines) == 1
    assert f"{path}: damaged (" in lines[0]
    assert "snakemake" in lines[0]
    assert " damaged " in status(campaign, results).splitlines()[0]

    shown = show(run.id, results)
    assert "state: damaged" in shown
    assert lines[0] in shown.splitlines()

    assert "2 runs: 1 done, 1 to do." in plan(campaign, results)

    with pytest.raises(AggregateError) as caught:
        aggregate(campaign, results, tmp_path / "out")
    assert str(caught.value) == lines[0]
    assert not (tmp_path / "out").exists()

    aggregate(campaign, results, tmp_path / "out", partial=True)
    assert capsys.readouterr().err == f"sign-ablate: left out: {lines[0]}\n"
    (row,) = pq.read_table(tmp_path / "out" / schemas.SUMMARY).to_pylist()
    assert (row["n"], row["n_damaged"]) == (1, 1)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", EXECUTION)
def test_a_run_counts_without_what_describes_its_execution(
    name: str,
    damage: Damage,
    run: Run,
    campaign: Campaign,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sign_ablate.analysis.collect._UNSETTLED_SECONDS", -60.0)  # keeps what it reads
    path = run_folder(results, run.id) / name
    path.write_bytes(damage(path.read_bytes()))
    lines = [line for line in status(campaign, results).splitlines() if str(path) in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{path}: damaged (")
    assert "2 of 2 runs done" in status(campaign, results)
    shown = show(run.id, results).splitlines()
    assert "state: done" in shown
    assert shown.count(lines[0]) == 1
    for _ in range(2):  # said each time, not only when the run is read first
        aggregate(campaign, results, tmp_path / "out")
        assert capsys.readouterr().err == f"sign-ablate: warning: {lines[0]}\n"
    assert pq.read_table(tmp_path / "out" / schemas.SUMMARY)["n"].to_pylist() == [2]
    damaged, intact = pq.read_table(tmp_path / "out" / schemas.TIMES).to_pylist()
    gone = {TIMING: {"train_seconds", "eval_seconds"}, ENVIRONMENT: {"total_seconds", "device", "code"}}
    assert {damaged[key] for key in gone[name]} == {None}
    other = next(key for key in gone if key != name)
    assert all(damaged[key] == intact[key] is not None for key in gone[other])


@pytest.mark.parametrize("name", [*FILES, *EXECUTION])
def test_a_folder_in_the_place_of_a_file_is_damage(
    name: str, run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    path = run_folder(results, run.id) / name
    path.unlink()
    path.mkdir()
    line = f"{path}: damaged (it is a folder); "
    assert line in status(campaign, results)
    if name in EXECUTION:
        aggregate(campaign, results, tmp_path / "out")
        return
    with pytest.raises(AggregateError, match=re.escape(line)):
        aggregate(campaign, results, tmp_path / "out")
    assert (set_damaged_aside(path.parent) or "").startswith(line)


def test_partial_tables_need_one_intact_run(
    run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    for one in expand(campaign):
        (results / "runs" / one.id / METRICS).write_bytes(b"")
    with pytest.raises(AggregateError, match=r"it is empty.*damaged runs: 2"):
        aggregate(campaign, results, tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere(
    name: str, run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    path = run_folder(results, run.id) / name
    content = path.read_bytes()
    for length in range(0, len(content), 64):
        path.write_bytes(content[:length])
        with pytest.raises(AggregateError, match=f"{name}: damaged"):
            aggregate(campaign, results, tmp_path / "out")
        assert "state: damaged" in show(run.id, results)


def test_a_flipped_byte_of_the_metrics_is_noticed(run: Run, campaign: Campaign, results: Path) -> None:
    folder = run_folder(results, run.id)
    content = (folder / METRICS).read_bytes()
    for at in range(0, len(content), 37):
        (folder / METRICS).write_bytes(
            content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
        )
        with pytest.raises(DamagedError, match="SHA-256"):
            reading.metrics(folder)
    (folder / METRICS).write_bytes(content)
    assert reading.end(folder) == ("finished", None)


def test_without_a_digest_the_metrics_are_checked_themselves(run: Run, results: Path) -> None:
    """Pages have checksums: without, a flipped bit can come out of zstd as another number."""
    folder = run_folder(results, run.id)
    recorded = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps({**recorded, "metrics_sha256": None}))  # as an earlier version did
    assert reading.end(folder) == ("finished", None)
    content = (folder / METRICS).read_bytes()
    before, noticed = reading.metrics(folder), 0
    last = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(len(METRICS_SCHEMA) - 1)
    for at in range(4, last.data_page_offset + last.total_compressed_size, 3):
        (folder / METRICS).write_bytes(flipped(content, at))
        try:
            assert reading.metrics(folder).equals(before)  # in the header of a page, where it changes nothing
        except DamagedError:
            noticed += 1
    assert noticed > 300


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"epoch": n, "step": n, "test_acc": 0.5} for n in (1, 2, 4)], "epochs are missing"),
        ([{"epoch": n, "step": n, "test_acc": 0.5} for n in (1, 2, 3)], "it ends at epoch 3, step 3"),
        ([{"epoch": n, "step": n} for n in (1, 2, 3, 4)], "there is no test accuracy in its last row"),
        (
            [{"epoch": n, "step": n, "test_acc": float("nan")} for n in (1, 2, 3, 4)],
            "there is no test accuracy in its last row",
        ),
        ([], "there is no test accuracy in its last row"),
    ],
)
def test_metrics_that_are_not_of_a_whole_run(
    rows: list[dict], reason: str, run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    write_outcome(run_folder(results, run.id), run, rows, None)
    with pytest.raises(AggregateError) as caught:
        aggregate(campaign, results, tmp_path)
    assert f"{METRICS}: damaged ({reason}); delete it and run snakemake again" in str(caught.value)


def test_a_run_with_so_many_steps_ends_at_them(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(methods={"sgd": METHODS["sgd"]}, seeds=[0], train={"steps": 25})
    (run,) = expand(campaign)
    rows = [{"epoch": n, "step": step, "test_acc": 0.5} for n, step in ((1, 10), (2, 20), (3, 25))]
    folder = run_folder(results, run.id)
    folder.mkdir(parents=True)
    write_outcome(folder, run, rows, None)
    aggregate(campaign, results, tmp_path)
    write_outcome(folder, run, rows[:2], None)
    with pytest.raises(AggregateError, match="it ends at epoch 2, step 20"):
        aggregate(campaign, results, tmp_path)


def test_the_files_of_another_run(run: Run, campaign: Campaign, results: Path, tmp_path: Path) -> None:
    other = expand(campaign)[1]
    shutil.copytree(run_folder(results, other.id), run_folder(results, run.id), dirs_exist_ok=True)
    with pytest.raises(AggregateError, match=f"{run.id}/{METRICS}: damaged .it belongs to another run"):
        aggregate(campaign, results, tmp_path)


def test_columns_of_another_version(
    run: Run, campaign: Campaign, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = METRICS_SCHEMA.append(pa.field("new", pa.float64()))
    monkeypatch.setattr(reading, "METRICS_SCHEMA", longer)
    monkeypatch.setattr(reading, "SCHEMA_VERSION", 99)
    with pytest.raises(AggregateError, match="its columns are not those of this version"):
        aggregate(campaign, results, tmp_path)
    assert "state: damaged" in show(run.id, results)


def test_all_damaged_runs_are_counted(run: Run, campaign: Campaign, results: Path, tmp_path: Path) -> None:
    for one in expand(campaign):
        (run_folder(results, one.id) / METRICS).write_bytes(b"")
    with pytest.raises(AggregateError, match=r"damaged runs: 2; `sign-ablate status` names them") as caught:
        aggregate(campaign, results, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_not_damaged(run: Run, campaign: Campaign, results: Path, tmp_path: Path) -> None:
    folder = run_folder(results, run.id)
    for name in (TIMING, ENVIRONMENT):
        (folder / name).unlink()
    aggregate(campaign, results, tmp_path)
    row = pq.read_table(tmp_path / schemas.TIMES).to_pylist()[0]
    assert {row[key] for key in ("train_seconds", "total_seconds", "versions", "device", "code")} == {None}
    (folder / ENVIRONMENT).write_text(json.dumps({"device": "cpu"}))  # of an older version
    aggregate(campaign, results, tmp_path)
    row = pq.read_table(tmp_path / schemas.TIMES).to_pylist()[0]
    assert (row["device"], row["total_seconds"]) == ("cpu", None)


def test_predictions_are_damaged_if_the_record_names_them_and_they_are_missing(
    run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    path = run_folder(results, run.id) / PREDICTIONS
    path.unlink()
    line = f"{path}: damaged (it is missing); run snakemake again, which trains this run again"
    assert line in status(campaign, results).splitlines()
    with pytest.raises(AggregateError) as caught:
        aggregate(campaign, results, tmp_path / "out")
    assert str(caught.value) == line


def test_runs_of_an_earlier_version_have_no_predictions(
    run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    folder = run_folder(results, run.id)
    recorded = json.loads((folder / RUN).read_text())
    del recorded["predictions_sha256"]
    (folder / RUN).write_text(json.dumps(recorded))
    (folder / PREDICTIONS).write_bytes(b"left there")
    assert reading.predictions(folder) is None
    assert set_damaged_aside(folder) is None
    aggregate(campaign, results, tmp_path)
    first, second = pq.read_table(tmp_path / schemas.PREDICTIONS).to_pylist()
    assert (first["images"], first["correct"]) == (None, None)
    assert second["images"] == 10


def test_a_run_without_its_record_is_damaged(
    run: Run, campaign: Campaign, results: Path, tmp_path: Path
) -> None:
    path = run_folder(results, run.id) / RUN
    path.unlink()
    line = f"{path}: damaged (it is missing); run snakemake again, which trains this run again"
    assert line in status(campaign, results).splitlines()
    assert {line, "state: damaged"} <= set(show(run.id, results).splitlines())
    with pytest.raises(AggregateError) as caught:
        aggregate(campaign, results, tmp_path / "out")
    assert str(caught.value) == line
    assert "the run is trained again" in (set_damaged_aside(path.parent) or "")
    assert "2 runs: 1 done, 1 to do." in plan(campaign, results)


def test_a_damaged_run_is_set_aside_to_be_trained_again(run: Run, results: Path) -> None:
    folder = run_folder(results, run.id)
    assert set_damaged_aside(folder) is None
    content = (folder / METRICS).read_bytes()
    for name, damaged in (
        (METRICS, content[:100]),
        (METRICS, content[:-9] + b"123456789"),
        (PREDICTIONS, b"foreign"),
        (RUN, b""),
    ):
        (folder / name).write_bytes(damaged)
        said = set_damaged_aside(folder)
        assert said is not None
        assert said.startswith(f"{folder / name}: damaged (")
        assert said.endswith(
            "metrics.parquet is set aside as metrics.parquet.damaged, and the run is trained again"
        )
        assert not (folder / METRICS).exists()
        assert set_damaged_aside(folder) is None
        (folder / METRICS).write_bytes(content)
