"""Verdicts: the rules case by case, their operating characteristics, and Holm's procedure on intervals."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from sign_ablate.claims.statistics import Effect, effect
from sign_ablate.claims.verdict import (
    above,
    any_reading,
    below,
    compound,
    greater,
    holm_levels,
    part,
    same,
    trend,
)

VERDICTS = ("supported", "refuted", "unresolved")


def interval(low: float, high: float) -> Effect:
    """An effect with these ends, whose 90 % interval is 10 % narrower at each end."""
    inner = 0.1 * (high - low)
    return Effect(8, (low + high) / 2, 1.0, low, high, low + inner, high - inner, np.zeros(8))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 2.0, "supported"),
        (0.1, 0.4, "supported"),  # small, but above 0
        (-0.2, 0.4, "refuted"),
        (-2.0, -1.0, "refuted"),
        (0.0, 0.4, "refuted"),
        (-0.2, 0.5, "unresolved"),
        (-0.2, 0.9, "unresolved"),
        (-math.inf, math.inf, "unresolved"),
    ],
)
def test_greater(low: float, high: float, verdict: str) -> None:
    assert greater(interval(low, high), 0.5) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.5, 0.5, "supported"),
        (-1.1, 0.9, "supported"),  # the 90 % interval ends at −0.9
        (-1.3, 0.9, "unresolved"),
        (0.9, 2.0, "unresolved"),
        (1.1, 2.0, "refuted"),
        (-2.0, -1.1, "refuted"),
        (-math.inf, math.inf, "unresolved"),
    ],
)
def test_same(low: float, high: float, verdict: str) -> None:
    assert same(interval(low, high), 1.0) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.9, 3, "supported"), (-3, -1.1, "refuted"), (-1.1, -0.9, "unresolved")]
)
def test_above_a_bound_and_below_it(low: float, high: float, verdict: str) -> None:
    assert above(interval(low, high), -1.0) == verdict
    assert below(interval(-high, -low), 1.0) == verdict


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=3, max_size=10),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([0.05, 0.01]),
)
def test_same_is_the_test_of_statsmodels(pairs: list[tuple[int, int]], margin: float, alpha: float) -> None:
    a, b = (np.array(column) / 100 for column in zip(*pairs, strict=True))
    found = effect(a - b, alpha)
    if found.sd < 1e-6:
        return
    p = ttost_paired(a, b, -margin, margin)[0]
    if abs(p - alpha) > 1e-9:
        assert (same(found, margin) == "supported") == (p < alpha)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-300, 300), min_size=2, max_size=9))
def test_a_decided_verdict_stays_decided_at_a_larger_level(values: list[int]) -> None:
    for judge in (lambda e: greater(e, 0.5), lambda e: same(e, 1.0), lambda e: above(e, -1.0)):
        decided = [judge(effect(np.array(values) / 100, a)) != "unresolved" for a in (0.005, 0.02, 0.05, 0.2)]
        assert decided == sorted(decided)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-300, 300), min_size=2, max_size=9), st.integers(1, 300))
def test_a_larger_difference_never_speaks_against_greater(values: list[int], more: int) -> None:
    order = {"refuted": 0, "unresolved": 1, "supported": 2}
    before, after = (greater(effect(np.array(values) / 100 + d), 0.5) for d in (0.0, more / 100))
    assert order[after] >= order[before]


def rates(truth: float, n: int, replicates: int = 20_000) -> dict[str, float]:
    draws = np.random.default_rng(0).normal(truth, 0.5, (replicates, n))
    verdicts = greater(effect(draws), 0.5)
    return {name: float(np.mean(verdicts == name)) for name in VERDICTS}


def test_operating_characteristics() -> None:
    """Margin and SD of differences 0.5: the Monte-Carlo error of 20,000 replicates is at most 0.35 %."""
    nothing, gap, many = rates(0.0, 8), rates(0.8, 8), rates(0.0, 16)
    assert nothing["supported"] == pytest.approx(0.025, abs=0.004)
    assert nothing["refuted"] == pytest.approx(0.67, abs=0.015)
    assert gap["supported"] == pytest.approx(0.97, abs=0.01)
    assert many["refuted"] == pytest.approx(0.95, abs=0.01)
    # a difference of the margin is real: refuting it is an error
    assert rates(0.5, 8)["refuted"] <= 0.025 + 0.004


@pytest.mark.parametrize(
    ("parts", "all_of", "any_of"),
    [
        (("supported", "supported"), "supported", "supported"),
        (("supported", "unresolved"), "unresolved", "supported"),
        (("supported", "refuted"), "refuted", "supported"),
        (("refuted", "unresolved"), "refuted", "unresolved"),
        (("refuted", "refuted"), "refuted", "refuted"),
        (("supported",), "supported", "supported"),
        (("refuted",), "refuted", "refuted"),
    ],
)
def test_all_parts_and_any_reading(parts: tuple[str, ...], all_of: str, any_of: str) -> None:
    assert (compound(parts), any_reading(parts)) == (all_of, any_of)
    assert (compound(parts[::-1]), any_reading(parts[::-1])) == (all_of, any_of)
    arrays = [np.array([part, "supported"]) for part in parts]
    assert compound(arrays).tolist() == [all_of, "supported"]


def test_parts_share_the_level_at_which_they_refute() -> None:
    def judge(p: float, verdict: str) -> Callable[[float], str]:
        return lambda alpha: verdict if p <= alpha else "unresolved"

    assert part(judge(0.04, "supported"), 4) == "supported"
    assert part(judge(0.04, "refuted"), 4) == "unresolved"
    assert part(judge(0.0125, "refuted"), 4) == "refuted"
    assert part(judge(0.04, "refuted"), 1) == "refuted"


def judge_of(values: Any, rule: Callable[[Effect], Any]) -> Callable[[Any], Any]:
    return lambda alpha: rule(effect(values, alpha))


def sign(found: Effect) -> Any:
    """A two-sided test of zero in the form of a verdict."""
    return np.where(found.low > 0, "supported", np.where(found.high < 0, "refuted", "unresolved"))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_holm_decides_what_holms_adjusted_p_values_reject(seed: int, claims: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(rng.choice([0, 0.4, 0.8], claims)[:, None], 0.5, (claims, 8))
    judges = [judge_of(row, sign) for row in data]
    levels = holm_levels(judges)
    decided = [judge(level).item() != "unresolved" for judge, level in zip(judges, levels, strict=True)]
    reject = multipletests([effect(row).p for row in data], alpha=0.05, method="holm")[0]
    assert decided == reject.tolist()


def test_holm_levels_by_hand() -> None:
    def decided_at(p: float) -> Callable[[float], str]:
        return lambda alpha: "supported" if p <= alpha else "unresolved"

    # 0.01 ≤ 0.05/3, then 0.02 ≤ 0.05/2, then 0.06 > 0.05
    assert holm_levels([decided_at(p) for p in (0.02, 0.01, 0.06)]) == pytest.approx([0.025, 0.05 / 3, 0.05])
    # nothing is decided at 0.05/2, although 0.03 would be alone
    assert holm_levels([decided_at(p) for p in (0.03, 0.04)]) == [0.025, 0.025]
    assert holm_levels([decided_at(0.03)]) == [0.05]
    assert holm_levels([]) == []


def test_claim_that_is_not_measured_at_a_level_leaves_it_to_no_other() -> None:
    def refuted_at(p: float) -> Callable[[float], str]:
        return lambda alpha: "refuted" if p <= alpha else "not measured"

    def supported_at(p: float) -> Callable[[float], str]:
        return lambda alpha: "supported" if p <= alpha else "unresolved"

    assert holm_levels([refuted_at(0.04), supported_at(0.03)]) == [0.025, 0.025]


def test_an_equivalence_counts_as_two_claims_of_a_family() -> None:
    def decided_at(p: float) -> Callable[[float], str]:
        return lambda alpha: "supported" if p <= alpha else "unresolved"

    claims = [decided_at(p) for p in (0.01, 0.03, 1.0)]
    # 4 claims: 0.01 ≤ 0.05/4. Then 3 are left: 0.03 > 0.05/3
    assert holm_levels(claims, equivalences=[False, True, False]) == pytest.approx(
        [0.0125, 0.05 / 3, 0.05 / 3]
    )
    # the equivalence is decided, and both of its counts leave
    assert holm_levels(claims, equivalences=[True, False, False]) == pytest.approx([0.0125, 0.025, 0.025])
    assert holm_levels([decided_at(0.03)], equivalences=[True]) == [0.05]


def test_family_of_equivalences_errs_no_more_than_alpha() -> None:
    """Four methods that fall short of one reference, which also just fails to equal a fifth, at SD 0.3.

    The orderings are refuted early and leave α to the equivalence. 8,000 replicates: standard error 0.24 %.
    """
    rng = np.random.default_rng(0)
    reference = rng.normal(0.0, 0.2, (8000, 8))
    orderings = [rng.normal(0.0, 0.2, (8000, 8)) - reference for _ in range(4)]
    equal = rng.normal(1.0, 0.2, (8000, 8)) - reference
    judges = [judge_of(d, lambda e: greater(e, 0.5)) for d in orderings] + [
        judge_of(equal, lambda e: same(e, 1.0))
    ]

    def error(**options: Any) -> float:
        levels = holm_levels(judges, **options)
        verdicts = [judge(level) for judge, level in zip(judges, levels, strict=True)]
        return float(np.any([verdict == "supported" for verdict in verdicts], axis=0).mean())

    assert error() > 0.065
    assert error(equivalences=[False] * 4 + [True]) < 0.055


def test_holm_of_replicates_is_holm_of_each() -> None:
    data = np.random.default_rng(3).normal(0.35, 0.5, (5, 200, 8))
    together = holm_levels([judge_of(claim, lambda e: greater(e, 0.5)) for claim in data])
    for i in range(200):
        alone = holm_levels([judge_of(claim[i], lambda e: greater(e, 0.5)) for claim in data])
        assert [levels[i] for levels in together] == pytest.approx(alone)
    assert len({round(level, 6) for level in np.ravel(together)}) > 3


def test_trend() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (8, 3))
    assert trend(noise + np.arange(3), 0.5) == "supported"
    assert trend(noise - np.arange(3), 0.5) == "refuted"
    assert trend(noise, 0.5) == "refuted"  # flat: a rise of 0.5 would have been seen
    assert trend(10 * noise, 0.5) == "unresolved"
    together = trend(np.stack([noise + np.arange(3), noise - np.arange(3), 10 * noise]), 0.5)
    assert together.tolist() == ["supported", "refuted", "unresolved"]
