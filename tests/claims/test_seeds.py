"""Seeds that each claim would need: numbers from the ledger's standard deviations, and the figure."""

import numpy as np
import pytest

from sign_ablate.claims import seeds, table
from sign_ablate.claims.ledger import ledger
from sign_ablate.claims.model import digest, load
from sign_ablate.claims.statistics import seeds_needed
from tests.claims.conftest import evidence

#: eight values with mean 0 and standard deviation 1
UNIT = np.array([-1.4, -0.9, -0.5, -0.1, 0.2, 0.5, 0.8, 1.4])
UNIT = (UNIT - UNIT.mean()) / UNIT.std(ddof=1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[table.Row]:
    """Ledger of SGD against SignSGD-M, whose differences have mean 0.56 and standard deviation 0.5."""
    folder = tmp_path_factory.mktemp("ledger")
    arms = {"sgd": list(90.56 + 0.5 * UNIT), "signsgd-m": [90.0] * 8, "hybrid": [[90.0] * 3] * 8}
    table.write(ledger(load(), evidence(arms)), folder / table.LEDGER, digest())
    return table.read(folder)


def test_seeds_for_the_margin_and_for_the_observed_difference(rows: list[table.Row]) -> None:
    (row,) = [row for row in rows if row["claim"] == "sign-trails-sgd"]
    assert row["sd"] == pytest.approx(0.5)
    (found,) = seeds.needed([row])
    assert found.n == 8
    assert found.for_effect == seeds_needed(0.5, 0.56, alpha=row["alpha"])
    assert found.for_margin == seeds_needed(0.5, 0.5, alpha=row["alpha"])
    assert found.for_margin > found.for_effect > 8


def test_a_difference_of_nothing_needs_more_seeds_than_anyone_runs(rows: list[table.Row]) -> None:
    (row,) = [row for row in rows if row["claim"] == "sign-trails-sgd"]
    (found,) = seeds.needed([{**row, "effect": 0.001}])
    assert found.for_effect is None
    (found,) = seeds.needed([{**row, "effect": 0.0}])
    assert found.for_effect is None
    (found,) = seeds.needed([{**row, "effect": 0.04}])
    assert found.for_effect is None  # about 1,490


@pytest.mark.parametrize("comparison", ["hand-off", "interaction", "not-worse", "value"])
def test_claim_on_another_value_than_0_has_no_number_of_seeds(rows: list[table.Row], comparison: str) -> None:
    """The number is that of a test of the difference against 0."""
    (row,) = [row for row in rows if row["claim"] == "sign-trails-sgd"]
    assert seeds.needed([{**row, "comparison": comparison}]) == []


@pytest.mark.parametrize(("sd", "gap", "n"), [(0.0, 1.0, 2), (0.001, 5.0, 2), (0.1, 1.0, 3), (0.5, 1.0, 5)])
def test_few_seeds_find_a_difference_of_many_standard_deviations(sd: float, gap: float, n: int) -> None:
    assert seeds_needed(sd, gap) == n


def test_figure_has_a_line_per_claim_and_arrows_beyond_its_edge(rows: list[table.Row]) -> None:
    found = seeds.needed(rows)
    assert {claim.title for claim in found} >= {"SignSGD-M trails well-tuned SGD"}
    figure = seeds.figure([*found, seeds.Seeds("far", "unresolved", 8, 40, None)])
    assert figure.legends[0].get_texts()[-1].get_text() == "looks of the protocol: 8 and 16 seeds"
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [*(c.title for c in found), "far"]
    assert [line.get_marker() for line in axes.lines[-3:]] == ["|", "o", ">"]
    assert axes.lines[-2].get_xdata() == [40]
    with pytest.raises(ValueError, match="no difference was measured"):
        seeds.figure([])
