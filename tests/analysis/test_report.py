"""The report's tables, the notebooks as they are stored, and one that is run."""

import dataclasses
import json
import re
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any, get_args

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure as MplFigure

from sign_ablate.analysis import report, schemas, style
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.analysis.export import export
from sign_ablate.analysis.notebook import execute
from sign_ablate.campaign.grid import expand
from sign_ablate.claims.table import LEDGER
from sign_ablate.cli import jobs as cli_jobs
from sign_ablate.config import Campaign
from sign_ablate.config.campaign import Figure
from sign_ablate.config.tuning import Tuning
from tests.analysis.conftest import METHODS, curve, make_campaign, write_run

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WriteAll = Callable[[Campaign], None]


@pytest.fixture
def loaded(results: Path, tmp_path: Path, write_all: WriteAll) -> report.Report:
    campaign = make_campaign()
    write_all(campaign)
    aggregate(campaign, results, tmp_path / "out")
    return report.load(tmp_path / "out")


def test_campaign_comes_back_as_it_was(loaded: report.Report) -> None:
    assert loaded.campaign == make_campaign()


def test_differences_by_hand(loaded: report.Report) -> None:
    table = report.differences(loaded, "digits", "sgd").set_index("Method")
    # the fixture's cells lie 0.01 apart, in all seeds alike
    assert list(table["Minus sgd (points)"]) == ["+1.00", "+2.00", "+3.00", "+4.00"]
    assert set(table["Result"]) == {"higher"}
    assert set(table["Seeds"]) == {3}
    back = report.differences(loaded, "digits", "hybrid").set_index("Method")
    assert back.loc["sgd", "Minus hybrid T=2 (points)"] == "−4.00"
    assert back.loc["sgd", "Result"] == "lower"
    assert report.differences(loaded, "digits", "adam").empty


def test_reference_is_chosen_on_validation_data_if_there_is_any() -> None:
    cells: dict[str, Any] = {"dataset": "d", "optimizer": "sgd", "label": ["a", "b"], "mean": [0.8, 0.9]}
    assert report.reference(pd.DataFrame({**cells, "val_mean": [0.7, 0.6]}), "d", "sgd") == "a"
    assert report.reference(pd.DataFrame({**cells, "val_mean": [nan, nan]}), "d", "sgd") == "b"
    nothing = pd.DataFrame({**cells, "mean": [nan, nan], "val_mean": [nan, nan]})
    assert report.reference(nothing, "d", "sgd") is None


def test_verdict_needs_an_interval_without_zero(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign(train={"epochs": 1}, methods={key: METHODS[key] for key in ("sgd", "signsgd-m")})
    finals = {("sgd", 0): 0.9, ("sgd", 1): 0.91, ("signsgd-m", 0): 0.91, ("signsgd-m", 1): 0.905}
    for run in expand(campaign):
        final = finals.get((run.cell.label, run.config.seed))
        write_run(results, run, [final] if final else [], None if final else 4)
    aggregate(campaign, results, tmp_path)
    (row,) = report.differences(report.load(tmp_path), "digits", "sgd").to_dict("records")
    assert (row["Result"], row["Seeds"]) == ("unresolved", 2)
    diverged = report.diverged_table(report.load(tmp_path).runs)
    assert list(diverged["At step"]) == [4, 4]
    limits = report.limits(report.load(tmp_path)).data
    assert "At most 2 seeds" in limits
    assert "nine standard deviations" in limits


def test_partial_is_said_first(results: Path, tmp_path: Path) -> None:
    campaign = make_campaign()
    write_run(results, expand(campaign)[0], curve(0.9, 4))
    aggregate(campaign, results, tmp_path, partial=True)
    loaded = report.load(tmp_path)
    assert "Partial: 14 of 15 runs are missing." in report.heading(loaded).data
    assert "no difference here can be told from chance" in report.limits(loaded).data
    assert list(report.differences(loaded, "digits", "sgd")["Result"]) == ["too few seeds"] * 4


def test_runs_of_different_code_are_said_at_the_top_and_below_table_1(loaded: report.Report) -> None:
    assert "different code" not in report.heading(loaded).data
    codes = loaded.times["code"].where(loaded.times["seed"] != 2, "ba9876543210")
    mixed = dataclasses.replace(loaded, times=loaded.times.assign(code=codes))
    said = "10 runs by 0123456789ab, 5 runs by ba9876543210 (sgd, signsgd-m, pre-dither and 1 more)"
    assert said in report.heading(mixed).data
    assert said in report.table_one(mixed).data
    assert list(report.provenance_table(mixed.times)["Code"]) == ["0123456789ab", "ba9876543210"]


def test_tables_of_the_campaign(loaded: report.Report) -> None:
    methods = report.methods_table(loaded.campaign).set_index("Method")
    assert methods.loc["pre-dither", "Options"] == "site: pre, alpha: [0.1, 0.5], lr: 0.001"
    assert methods.loc["(all)", "Options"] == "epochs: 4"
    assert report.times_table(loaded.times)["Training (s)"].tolist() == ["8.0"] * 4
    (row,) = report.provenance_table(loaded.times).to_dict("records")
    assert (row["Device"], row["Commit"], row["Versions"], row["Runs"]) == ("cpu", "abc+", "torch: 2.15", 15)
    assert "no number for digits as configured here" in report.limits(loaded).data


def test_limits_of_a_tuned_campaign_name_its_search(loaded: report.Report) -> None:
    assert "Each method ran with one learning rate" in report.limits(loaded).data
    tuning = Tuning(spaces={"sgd": {"weight_decay": (1e-5, 0.01)}}, trials=12, val=32)
    tuned = dataclasses.replace(loaded, campaign=loaded.campaign.model_copy(update={"tuning": tuning}))
    assert "Tuned methods had 12 trials each" in report.limits(tuned).data
    assert "one learning rate" not in report.limits(tuned).data


def test_saved_figure_of_two_columns_is_as_wide_as_the_page(loaded: report.Report) -> None:
    for name, columns in (("one", 1.2), ("two", 2)):
        figure = MplFigure(figsize=(columns * style.WIDTH, 1))
        figure.add_subplot()
        style.save(figure, loaded.folder / "figures" / name)
    one, two = report.pictures(loaded, ["one", "two"]).data.split("</figure>")[:2]
    assert one.startswith("<figure>")
    assert two.startswith('<figure class="wide">')


def test_notebooks_of_the_figures_and_of_the_report() -> None:
    kinds = get_args(Figure.model_fields["kind"].annotation)
    assert {*kinds, "report", "table1", "tuning"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.language_info.name == "python"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1


def run(name: str, folder: Path, **parameters: Any) -> Path:
    (source,) = [path for path in NOTEBOOKS if path.stem == name]
    out = folder / f"{name}.ipynb"
    execute(source, out, parameters)
    return out


@pytest.mark.slow
def test_figure_notebook_and_report_stand_alone(loaded: report.Report, tmp_path: Path) -> None:
    folder = loaded.folder
    stem = folder / "figures" / "figure2"
    run(
        "switching",
        tmp_path,
        epochs=str(folder / schemas.EPOCHS),
        dataset="digits",
        t_switch=2,
        out=str(stem),
    )
    assert all(stem.with_suffix(f".{suffix}").stat().st_size for suffix in ("svg", "png", "pdf"))
    cli_jobs.ledger(folder, folder / LEDGER, folder / "explore.html")
    executed = run("report", tmp_path, results=str(folder), figures=json.dumps(["figure2"]))
    page = tmp_path / "report.html"
    export(executed, page)
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]{,9})""", text)
    assert set(links) == {"data:imag"}
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "<title>sign-ablate: test: report</title>" in text
    assert text.count('src="data:image/png;base64,') == 3  # figure, accuracies, seeds that claims need
    assert "proxy: " in text
    for part in ("Table I", "Limits of these results", "No run diverged.", "pre-dither alpha=0.1", "abc+"):
        assert part in text
    assert "accuracy_forest" not in text  # code is left out


def test_no_difference_has_no_minus() -> None:
    assert [report._signed(x) for x in (-1e-9, 0.0, -0.004, None)] == ["+0.00", "+0.00", "−0.40", "–"]
