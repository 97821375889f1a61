"""Intervals over seeds: of a mean, and of the paired difference between two methods."""

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
#: Minimum number of values for which tables show a t-interval. With two values (one degree of freedom) it
#: reaches nine standard deviations to either side, so their range is shown instead.
LEAST_FOR_INTERVAL = 3


@dataclasses.dataclass(frozen=True)
class Interval:
    """Mean and t-interval of n values. `mean` is None without values, the others are None for n < 2."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def t_interval(values: Sequence[float]) -> Interval:
    """Mean of `values` with its 95 % t-interval."""
    n = len(values)
    if n == 0:
        return Interval(0, None, None, None, None)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_factor(n) * sd
    return Interval(n, mean, sd, mean - half, mean + half)


@cache
def t_factor(n: int) -> float:
    """Half-width of the 95 % t-interval of a mean of `n` values, divided by their standard deviation."""
    from scipy import special  # scipy.stats, whose t.ppf this is, takes three times as long to import

    return float(special.stdtrit(n - 1, (1 + LEVEL) / 2)) / math.sqrt(n) if n > 1 else math.nan


def paired_difference(runs: "pd.DataFrame", dataset: str, label: str, reference: str) -> Interval:
    """Paired difference `label` − `reference` of the last epoch's test accuracy, over seeds finished by both.

    A seed sets initialisation and data order of every method, so the difference within a seed varies less
    than the two accuracies.

    Args:
        runs: rows of runs.parquet.
        dataset: the data set's label.
        label: a cell's label.
        reference: the label that it is compared with.
    """
    finished = runs[(runs["dataset"] == dataset) & (runs["status"] == "finished")]
    table = finished[finished["label"].isin([label, reference])].pivot(
        index="seed", columns="label", values="final_test_acc"
    )
    if label not in table or reference not in table:
        return t_interval([])
    return t_interval([float(value) for value in (table[label] - table[reference]).dropna()])
