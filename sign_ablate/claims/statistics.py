"""Effects and intervals on which verdicts rest.

The unit is the seed: a seed sets initialisation and data order of every method, so methods are compared in
pairs within a seed. Accuracies, differences and margins are percentage points. Arguments may have leading
axes, one entry per replicate of a simulation; every returned number is then an array of their shape. That
way `benchmarks/verdict_sim.py` simulates the functions that the ledger calls.
"""

import dataclasses
import math
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A float, or an array with a value per replicate.
Floats: TypeAlias = Any

ALPHA = 0.05
#: With fewer seeds than this, the smallest two-sided p that a sign-flip test can give is above 0.0078.
LEAST_FOR_SIGN_FLIP = 8
#: the second look; each further seed doubles the time and the memory
MOST_FOR_SIGN_FLIP = 16
#: The number of seeds at the first look, and at the second.
LOOKS = (8, 16)


@dataclasses.dataclass(frozen=True)
class Effect:
    """Mean of paired differences over n seeds, with t-intervals and tests of a mean of zero.

    With n < 2 the intervals are infinite, `sd` is NaN and the p-values are 1.

    Attributes:
        n: number of seeds.
        mean: mean difference.
        sd: standard deviation of the differences, with n − 1.
        low: lower end of the two-sided 1 − α interval.
        high: upper end of it.
        low90: lower end of the two-sided 1 − 2α interval, 90 % at α = 0.05, which an equivalence test uses.
        high90: upper end of it.
        differences: the differences.
    """

    n: int
    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    low90: Floats
    high90: Floats
    differences: NDArray[np.float64] = dataclasses.field(repr=False, compare=False)

    @cached_property
    def p(self) -> Floats:
        """p-value of the two-sided paired t-test."""
        from scipy import special

        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.mean) / (np.asarray(self.sd) / math.sqrt(self.n or 1))
        p = 2 * special.stdtr(max(1, self.n - 1), -t)
        return _plain(np.where((np.asarray(self.mean) == 0) | (self.n < 2), 1.0, p))

    @cached_property
    def p_sign_flip(self) -> float | None:
        """p-value of the exact two-sided sign-flip test; None for n < 8, n > 16, and for replicates."""
        known = LEAST_FOR_SIGN_FLIP <= self.n <= MOST_FOR_SIGN_FLIP and self.differences.ndim == 1
        return sign_flip(self.differences) if known else None


def effect(differences: ArrayLike, alpha: Floats = ALPHA) -> Effect:
    """Effect of one method against another, from its differences within each seed.

    Args:
        differences: shape (…, n), one difference per seed.
        alpha: level of the intervals, broadcast against the leading axes.

    Raises:
        ValueError: if a difference is not finite. Diverged runs are replaced first (`Sample.extremes`).
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("differences: a value is not finite; replace diverged runs (Sample.extremes)")
    n = values.shape[-1]
    if n < 2:
        mean = values.mean(-1) if n else np.full(values.shape[:-1], np.nan)
        error = np.full(mean.shape, np.inf)
        ends, ends90 = (-error, error), (-error, error)
        sd = np.full(mean.shape, np.nan)
    else:
        mean, sd = values.mean(-1), values.std(-1, ddof=1)
        error = sd / math.sqrt(n)
        half, half90 = (quantile * error for quantile in _quantiles(n - 1, alpha))
        ends, ends90 = (mean - half, mean + half), (mean - half90, mean + half90)
    mean, sd, low, high, low90, high90 = (_plain(value) for value in (mean, sd, *ends, *ends90))
    return Effect(n, mean, sd, low, high, low90, high90, values)


def _quantiles(df: int, alpha: Floats) -> tuple[Floats, Floats]:
    """1 − α/2 and 1 − α quantiles of the t-distribution, computed once per distinct level."""
    from scipy import special  # scipy.stats takes three times as long to import

    levels, which = np.unique(alpha, return_inverse=True)
    which = which.reshape(np.shape(alpha))
    return special.stdtrit(df, 1 - levels / 2)[which], special.stdtrit(df, 1 - levels)[which]


def _plain(value: NDArray[Any]) -> Any:
    """Convert an array without axes to a Python number or string."""
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array


def sign_flip(differences: ArrayLike) -> float:
    """p-value of the two-sided sign-flip test, over all 2ⁿ signs of the differences.

    It assumes symmetry about zero and no normality. With n = 5 it cannot fall below 0.0625.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)

    def mean(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return x.mean(axis=axis)

    found = stats.permutation_test(
        (values,), mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    return float(found.pvalue)


def with_new_images(
    correct_a: ArrayLike, correct_b: ArrayLike, alpha: float = ALPHA
) -> tuple[Floats, Floats]:
    """Interval of the difference in accuracy for new seeds and new test images, in percentage points.

    `effect` holds the test images fixed. Here they are a random sample, like the seeds. With D the difference
    in correctness of a seed and an image, n seeds and N images,

        half-width² = t²_{n−1}·s²_seed/n + t²_{N−1}·max(0, s²_image − w̄/n)/N,

    where s²_seed is the variance over seeds of D's mean over images, s²_image the variance over images of D's
    mean over seeds, w̄ the mean over images of D's variance over seeds, and t_ν the 1 − α/2 quantile. So it is
    never narrower than the interval for new seeds. With Satterthwaite's degrees of freedom it can be, and
    errs in up to 8 % of cases at n = 3 and α = 5 %. Jordan (2023, arXiv 2304.01910) separates the two
    variances, of seeds on one test set and over the distribution of images.

    Args:
        correct_a: boolean, shape (…, n, N): whether method A was right, by seed and image. n ≥ 2.
        correct_b: the same of method B, for the same seeds and images.
        alpha: 1 − the level.

    Raises:
        ValueError: if the two shapes differ.
    """
    from scipy import special

    a, b = (np.asarray(correct).astype(np.int8) for correct in (correct_a, correct_b))
    if a.shape != b.shape:
        raise ValueError(f"correct_a has shape {a.shape} and correct_b {b.shape}: they must be equal")
    difference = a - b
    n, images = difference.shape[-2:]
    if n < 2:
        unknown = np.full(difference.shape[:-2], np.inf)
        return _plain(-unknown), _plain(unknown)
    of_seed = difference.mean(-1)
    of_image = difference.mean(-2)
    seeds = of_seed.var(-1, ddof=1) / n
    within = difference.var(-2, ddof=1).mean(-1)
    new = np.maximum(0.0, of_image.var(-1, ddof=1) - within / n) / images
    t_seeds, t_images = special.stdtrit([n - 1, images - 1], 1 - alpha / 2)
    half = np.sqrt(t_seeds**2 * seeds + t_images**2 * new)
    mean = of_seed.mean(-1)
    return _plain(100 * (mean - half)), _plain(100 * (mean + half))


def proportion(count: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Exact (Clopper–Pearson) two-sided interval of a proportion, such as that of runs that diverge.

    0 of 8 still allows 37 %.
    """
    from scipy import stats

    found = stats.binomtest(count, n).proportion_ci(confidence_level=1 - alpha, method="exact")
    return float(found.low), float(found.high)


def page_trend(values: ArrayLike) -> Floats:
    """p-value of Page's one-sided test that values rise from column to column.

    Args:
        values: shape (…, seeds, doses), with at least 2 seeds and 3 doses; columns in the order of the dose.
    """
    from scipy import stats

    table = np.asarray(values, dtype=np.float64)
    doses = table.shape[-1]
    ranks = stats.rankdata(table, axis=-1).sum(-2)
    # the test depends on the table only through Page's L, which takes few values
    _, first, which = np.unique(ranks @ np.arange(1, doses + 1), return_index=True, return_inverse=True)
    tables = table.reshape(-1, *table.shape[-2:])[first]
    p = np.array([stats.page_trend_test(of).pvalue for of in tables])
    return _plain(p[which].reshape(table.shape[:-2]))


def look_alpha(look: int, alpha: float = ALPHA) -> float:
    """α of a look, half of the whole for each of the two that were declared in advance (8 seeds, then 16).

    Raises:
        ValueError: if no such look was declared.
    """
    if not 1 <= look <= len(LOOKS):
        raise ValueError(f"look = {look}: must be 1 to {len(LOOKS)}, the looks declared in advance")
    return alpha / len(LOOKS)


def seeds_needed(sd: float, gap: float, alpha: float = ALPHA, power: float = 0.8) -> int:
    """Number of seeds with which a two-sided paired t-test detects a difference with probability `power`.

    Args:
        sd: standard deviation of the differences over seeds.
        gap: true difference, in the unit of `sd`; not 0.
        alpha: level of the test.
        power: probability of detection.
    """
    from statsmodels.stats.power import TTestPower

    if sd == 0:
        return 2
    test, size = TTestPower(), abs(gap) / sd
    for n in range(2, 5):
        if not test.power(effect_size=size, nobs=n, alpha=alpha) < power:  # NaN where it is 1 up to rounding
            return n
    found = test.solve_power(effect_size=size, alpha=alpha, power=power)
    return math.ceil(float(np.asarray(found).item()))
