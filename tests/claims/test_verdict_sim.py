"""The simulated ledger: its truths, which verdicts it calls wrong, and error rates within their bounds."""

import numpy as np
import pytest

from benchmarks import simulated_ledger as simulated
from benchmarks import verdict_sim
from benchmarks.simulated_ledger import MARGIN, Part, SimulatedClaim
from sign_ablate.claims.model import load
from sign_ablate.claims.quantities import Probe

NORMAL = ("normal", 0.3, 0.5)


def test_wrong_verdicts() -> None:
    truth = {"a": np.array([-0.1, 0.0, 0.2, 0.5, 0.9]), "b": np.zeros(5)}
    ordering = Part({"a": 1.0, "b": -1.0}, "greater", 0.5)
    assert [wrong.tolist() for wrong in ordering.wrong(truth)] == [
        [True, True, False, False, False],
        [False, False, False, True, True],
    ]
    equal = Part({"a": 1.0, "b": -1.0}, "same", 0.5)
    assert [wrong.tolist() for wrong in equal.wrong(truth)] == [
        [False, False, False, True, True],
        [True, True, True, False, False],
    ]
    # a claim of two parts is false if one is; of two readings, only if both are
    both, either = SimulatedClaim(((ordering, equal),)), SimulatedClaim(((ordering,), (equal,)))
    assert both.wrong(truth)[0].tolist() == [True, True, False, True, True]
    assert either.wrong(truth)[0].tolist() == [False] * 5
    assert either.wrong(truth)[1].tolist() == [True] * 5
    assert both.wrong(truth)[1].tolist() == [False] * 5


@pytest.mark.parametrize(("scenario", "index"), [("false", 0), ("true", 1)])
def test_scenarios_put_claims_on_their_boundaries(scenario: str, index: int) -> None:
    for tests in (simulated.seven_orderings(), simulated.families(load())["Figure 3"][:1]):
        truth = simulated.truths(scenario, tests, 3, np.random.default_rng(0))
        for test in tests:
            assert test.wrong(truth)[index].all()
            assert not test.wrong(truth)[1 - index].any()


def test_families_of_the_ledger() -> None:
    found = simulated.families(load())
    tests = [claim.test for claim in load().claims.values()]
    claims = [test for test in tests if test.contrasts() and not isinstance(test, Probe)]
    assert sum(map(len, found.values())) == len(claims)
    assert all(part.margin > 0 for tests in found.values() for test in tests for part in test.parts)


def test_runs_have_the_mean_the_spread_and_the_correlation_asked_for() -> None:
    rng = np.random.default_rng(0)
    truth = {"a": np.full(4000, 1.0), "b": np.zeros(4000)}
    for kind in verdict_sim.KINDS:
        runs = simulated.runs_of(truth, kind, 0.7, 0.5, 16, rng)
        a, b = runs["a"].ravel(), runs["b"].ravel()
        assert (a.mean(), b.mean()) == (pytest.approx(1.0, abs=0.1), pytest.approx(0.0, abs=0.1))
        if kind in {"normal", "t₃"}:
            assert b.std() == pytest.approx(0.7, abs=0.05)
            assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.5, abs=0.05)
    assert np.mean(a < -10) == pytest.approx(0.1, abs=0.01)  # one collapsing: the first arm
    assert not (b < -10).any()


def test_holm_keeps_the_error_of_seven_claims_and_four_looks_do_not() -> None:
    rng = np.random.default_rng(0)
    found = verdict_sim.family(simulated.seven_orderings(), NORMAL, "false", 2000, rng, peek=True)
    assert found["uncorrected"] > 10
    assert found["four looks at 5 %"] > 8
    assert max(found["Holm at 5 %, n = 8"], found["two looks"]) < 6


def test_coverage_of_one_comparison() -> None:
    covered = verdict_sim.single(NORMAL, 4000, np.random.default_rng(0))
    assert all(94 < coverage < 96 for coverage, _ in covered.values())
    supported, refuted = covered[8][1][verdict_sim.TRUTHS.index(MARGIN)]
    assert supported > 90
    assert refuted < 2.5 + 1


def test_page_lists_where_it_fails() -> None:
    rng = np.random.default_rng(0)
    setting, tests = ("one collapsing", 0.3, 0.0), simulated.seven_orderings()
    errors = {name: verdict_sim.family(tests, setting, name, 50, rng) for name in verdict_sim.SCENARIOS}
    results = (verdict_sim.single(setting, 200, rng), {"seven": errors})
    text = verdict_sim.page([setting], [results], "Notes.")
    assert "| one collapsing | 0.3 | 0.0 | 8 |" in text
    assert "- one collapsing, n = 8: coverage of " in text.split("## Where it fails")[1]
