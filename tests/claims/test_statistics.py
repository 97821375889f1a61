"""Effects and intervals against published values, other implementations, and simulations with known truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sign_ablate.analysis.stats import t_interval
from sign_ablate.claims.statistics import (
    effect,
    look_alpha,
    page_trend,
    proportion,
    seeds_needed,
    sign_flip,
    with_new_images,
)

#: extra hours of sleep of ten patients (Student 1908): t = 4.0621 with 9 degrees of freedom, p = 0.002833
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]

differences = st.lists(st.floats(-50, 50).map(lambda x: round(x, 2)), min_size=2, max_size=12)


def test_students_sleep_data() -> None:
    found = effect(SLEEP)
    assert (found.n, found.mean) == (10, pytest.approx(1.58))
    assert found.sd == pytest.approx(1.229995, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.7001142, abs=1e-6), pytest.approx(2.4598858, abs=1e-6))
    assert found.p == pytest.approx(0.00283289, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(differences, st.sampled_from([0.05, 0.025, 0.01]))
def test_effect_agrees_with_scipy_and_with_the_campaigns_tables(values: list[float], alpha: float) -> None:
    found = effect(values, alpha)
    if found.sd < 1e-9:  # scipy warns
        return
    test = stats.ttest_1samp(values, 0.0)
    assert found.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
    for ends, level in (((found.low, found.high), 1 - alpha), ((found.low90, found.high90), 1 - 2 * alpha)):
        assert ends == pytest.approx(tuple(test.confidence_interval(level)), abs=1e-9)
    assert (found.low > 0 or found.high < 0) == (found.p < alpha)
    shown = t_interval(values)
    if alpha == 0.05:
        assert (found.low, found.high) == pytest.approx((shown.low, shown.high), abs=1e-9)


def test_a_smaller_level_widens_the_interval() -> None:
    ends = [effect(SLEEP, alpha) for alpha in (0.1, 0.05, 0.025, 0.01)]
    assert [e.low for e in ends] == sorted((e.low for e in ends), reverse=True)
    assert [e.high for e in ends] == sorted(e.high for e in ends)


def test_replicates_are_the_scalars() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.5, (3, 4, 8))
    alphas = np.array([0.05, 0.025, 0.01, 0.2])
    many = effect(draws, alphas)
    for i, j in np.ndindex(3, 4):
        one = effect(draws[i, j], float(alphas[j]))
        for name in ("mean", "sd", "low", "high", "low90", "high90", "p"):
            assert getattr(many, name)[i, j] == pytest.approx(getattr(one, name), rel=1e-12), name
    assert many.p_sign_flip is None


def test_one_seed_and_none_have_no_interval() -> None:
    one, none = effect([0.4]), effect([])
    assert (one.mean, one.low, one.high, one.p) == (0.4, -math.inf, math.inf, 1.0)
    assert (none.n, none.low, none.high, none.p) == (0, -math.inf, math.inf, 1.0)
    assert math.isnan(none.mean)


def test_equal_differences() -> None:
    zero, half = effect([0.0] * 3), effect([0.5] * 3)
    assert (zero.low, zero.high, zero.p) == (0.0, 0.0, 1.0)
    assert (half.low, half.high, half.p) == (0.5, 0.5, 0.0)


def test_a_diverged_run_is_refused() -> None:
    with pytest.raises(ValueError, match="diverged runs"):
        effect([0.1, math.nan])


def test_sign_flip_counts_all_signs() -> None:
    # all eight positive: 2 of the 2⁸ sign vectors are as extreme
    assert sign_flip([1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx(2 / 256)
    assert sign_flip([1, 2, 3, 4, 5]) == pytest.approx(2 / 32)
    # by hand: means of ±1 ± 2 ± 3 at or beyond |−1 + 2 + 3| = 4: ±6 and ±4
    assert sign_flip([-1, 2, 3]) == pytest.approx(4 / 8)
    assert effect(SLEEP).p_sign_flip == sign_flip(SLEEP)
    assert effect(SLEEP[:7]).p_sign_flip is None
    assert effect(np.arange(16.0)).p_sign_flip == pytest.approx(2 / 2**15)  # one is 0
    assert effect(np.arange(17.0)).p_sign_flip is None


def test_proportion_that_never_happened() -> None:
    assert proportion(0, 8) == (0.0, pytest.approx(1 - 0.025 ** (1 / 8)))
    assert proportion(0, 8)[1] == pytest.approx(0.369, abs=1e-3)
    assert proportion(8, 8)[0] == pytest.approx(0.631, abs=1e-3)


def test_seeds_needed_for_the_papers_gap() -> None:
    assert seeds_needed(0.5, 0.80, alpha=0.05 / 4) == 8
    assert seeds_needed(0.5, 0.56, alpha=0.05 / 4) == 13
    assert seeds_needed(0.5, -0.56, alpha=0.05 / 4) == 13
    # Cohen's table for a one-sample test with d = 0.5, α = 0.05, power 0.8
    assert seeds_needed(1.0, 0.5) == 34


def test_looks_share_alpha() -> None:
    assert look_alpha(1) + look_alpha(2) == 0.05
    with pytest.raises(ValueError, match="look = 3: must be 1 to 2"):
        look_alpha(3)


def test_page_trend() -> None:
    # perfectly rising for 2 seeds and 3 doses: 1 of (3!)² rankings
    assert page_trend([[1, 2, 3], [4, 6, 9]]) == pytest.approx(1 / 36)
    # the example of scipy's documentation, from Page's paper: ten students rate three styles of teaching
    ratings = np.array([[3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2]])
    ratings = np.vstack([ratings, [[2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4]]])
    assert page_trend(ratings) == pytest.approx(0.0018191161948)
    assert page_trend(ratings[:, ::-1]) > 0.99
    many = np.random.default_rng(0).normal([0.0, 0.3, 0.6], size=(20, 8, 3))
    assert page_trend(many) == pytest.approx([stats.page_trend_test(table).pvalue for table in many])


def images(shape: tuple[int, int, int], spread: float) -> tuple[np.ndarray, ...]:
    """Correctness of two methods: images are easy or hard for both and for each, a seed shifts A's."""
    rng = np.random.default_rng(1)
    replicates, seeds, n = shape
    easy = rng.normal(1.0, 1.0, (replicates, 1, n))
    a, b = (easy + 0.6 * rng.normal(size=easy.shape) for _ in range(2))
    a = a + spread * rng.normal(size=(replicates, seeds, 1))
    return a + rng.normal(size=shape) > 0, b + rng.normal(size=shape) > 0


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_interval_for_new_images_covers_where_seeds_alone_do_not(spread: float) -> None:
    a, b = images((500, 8, 400), spread)
    # the probability that a normal variable of mean 1 and variance 1 + 0.6² + spread² + 1 is positive
    truth = 100 * (stats.norm.cdf(1 / math.sqrt(2.36 + spread**2)) - stats.norm.cdf(1 / math.sqrt(2.36)))
    low, high = with_new_images(a, b)
    covered = np.mean((low <= truth) & (truth <= high))
    fixed = effect(100 * (a.mean(-1) - b.mean(-1)))
    covered_fixed = np.mean((fixed.low <= truth) & (truth <= fixed.high))
    # binomial standard error at 95 % of 500 replicates: 1 %
    assert 0.93 < covered < 0.99
    if spread < 0.3:
        assert covered_fixed < covered - 0.03


def test_interval_for_new_images_by_hand() -> None:
    a = np.array([[1, 1, 0, 1], [1, 0, 0, 1]], bool)
    b = np.array([[0, 1, 0, 0], [1, 0, 0, 0]], bool)
    # differences by seed: (1, 0, 0, 1) and (0, 0, 0, 1): means 1/2, 1/4; by image (1/2, 0, 0, 1)
    seeds = 0.03125 / 2
    within = 0.5 / 4
    new = max(0.0, np.var([0.5, 0, 0, 1], ddof=1) - within / 2) / 4
    half = math.sqrt(stats.t.ppf(0.975, 1) ** 2 * seeds + stats.t.ppf(0.975, 3) ** 2 * new)
    assert with_new_images(a, b) == pytest.approx((100 * (0.375 - half), 100 * (0.375 + half)))
    assert with_new_images(b, a) == pytest.approx((-100 * (0.375 + half), -100 * (0.375 - half)))


@pytest.mark.parametrize("alpha", [0.05, 0.025 / 9])
def test_interval_for_new_images_is_never_narrower_than_that_for_new_seeds(alpha: float) -> None:
    """With few seeds and a small level, which the interval of Satterthwaite gets wrong."""
    for n in (2, 3, 5, 8):
        a, b = images((20, n, 400), 0.3)
        both, fixed = with_new_images(a, b, alpha), effect(100 * (a.mean(-1) - b.mean(-1)), alpha)
        assert np.all(both[0] <= fixed.low + 1e-9)
        assert np.all(both[1] >= fixed.high - 1e-9)


def test_interval_for_new_images_at_its_limits() -> None:
    same = np.ones((3, 5), bool)
    assert with_new_images(same, same) == (0.0, 0.0)
    assert with_new_images(same[:1], same[:1]) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match=r"\(3, 5\) and correct_b \(2, 5\)"):
        with_new_images(same, same[:2])
