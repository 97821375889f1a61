"""Figures and notebook of the lab."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sign_ablate.analysis.notebook import execute
from sign_ablate.store.run_files import write_table
from sign_ablate.theory import CLAIMS, EXPERIMENTS, FIGURES, figures, lab, statements
from tests.conftest import ROOT


@pytest.mark.slow
def test_failure_probabilities_are_below_the_drawn_bound(quick: dict[str, pd.DataFrame]) -> None:
    left, right = figures.failure(quick).axes
    *laws, bound = left.get_lines()
    assert len(laws) == 6
    snr, top = bound.get_data()
    for law in laws:
        x, p = law.get_data()
        # the drawn bound jumps at √(2/3), between two of its points
        away = np.abs(np.asarray(x) - np.sqrt(2 / 3)) > 1e-3
        assert (np.asarray(p)[away] <= np.interp(x, snr, top)[away] * 1.001 + 1e-12).all()
    assert all(np.max(line.get_ydata()) <= 1 + 1e-9 for line in right.get_lines())


@pytest.mark.slow
def test_rates_show_bounds_above_and_floors(quick: dict[str, pd.DataFrame]) -> None:
    axes = figures.rates(quick).axes
    assert len(axes) == 6
    for phi, l1 in zip(axes[:3], axes[3:], strict=True):
        *averages, paper, least = phi.get_lines()
        assert len(averages) == 8
        np.testing.assert_allclose(paper.get_ydata(), np.sqrt(3) * np.asarray(least.get_ydata()))
        assert all((np.asarray(a.get_ydata()) < paper.get_ydata()).all() for a in averages)
        floors = [line.get_ydata()[0] for line in l1.get_lines() if line.get_linewidth() < 1]
        np.testing.assert_allclose(floors, floors[0] / np.sqrt([1, 4, 16, 64]))


@pytest.mark.slow
def test_notebook_draws_every_figure_and_the_verdicts(quick: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    for name in EXPERIMENTS:
        rows = quick[name].astype(object).where(quick[name].notna(), None).to_dict("records")
        write_table(tmp_path / f"{name}.parquet", rows, lab.schema(name))
    lab.write_claims([tmp_path / f"{name}.parquet" for name in EXPERIMENTS], tmp_path / f"{CLAIMS}.parquet")
    execute(ROOT / "notebooks/theory.ipynb", tmp_path / "out.ipynb", {"folder": str(tmp_path)})
    for name in FIGURES:
        for kind in ("svg", "png", "pdf"):
            assert (tmp_path / "figures" / f"{name}.{kind}").stat().st_size > 0
    text = (tmp_path / "out.ipynb").read_text()
    assert all(claim in text for claim in statements.STATEMENTS if claim != "constant-sharp")


def test_results_that_the_ledger_reads_exist() -> None:
    from sign_ablate.claims import model
    from sign_ablate.claims.quantities import Theory

    tests = [claim.test for claim in model.load().claims.values()]
    read = {result for test in tests if isinstance(test, Theory) for result in test.results}
    assert read
    assert read <= statements.STATEMENTS.keys()


def test_page_has_the_verdicts_of_the_reference_tables() -> None:
    claims = pd.read_parquet(ROOT / "results/reference/theory/claims.parquet")
    assert list(claims["claim"]) == list(statements.STATEMENTS)
    assert list(claims["statement"]) == [statement.text for statement in statements.STATEMENTS.values()]
    assert statements.to_markdown(claims) in (ROOT / "docs/theory.md").read_text()


@pytest.mark.slow
def test_verdicts_in_markdown_name_the_deciding_row(quick: dict[str, pd.DataFrame]) -> None:
    claims = pd.DataFrame(statements.judge([quick["projection"]]))
    text = statements.to_markdown(claims)
    assert "| projection (paper) |" in text
    assert "**supported**" in text
    assert "exact" in text
    assert all(line.count("|") - line.count("\\|") == 6 for line in text.splitlines())


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_functions_that_say_what_they_show(name: str) -> None:
    assert getattr(figures, name).__doc__
