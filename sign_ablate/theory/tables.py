"""Rows of the lab's tables: a quantity with its interval, its bound or closed form, and the outcome."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field

Relation = Literal["<=", ">=", "="]
Row = dict[str, Any]

#: Bump when a column is added, removed or changes its meaning.
THEORY_VERSION = 1
#: level of the t-intervals of means that are compared with a bound
LEVEL = 0.99
#: half-width, in standard errors, of the intervals that must contain a closed form; a table has hundreds
STANDARD_ERRORS = 4.0
#: tolerance of comparisons between closed forms, relative to the larger of bound and 1: rounding
ROUNDING = 1e-9

COLUMNS = [
    field("claim", pa.string(), "claim of claims.parquet that the row bears on; null for checks of the lab"),
    field("quantity", pa.string(), "the quantity that was computed or estimated"),
    field("value", pa.float64(), "its value, or its estimate"),
    field("low", pa.float64(), "lower end of its interval; the value itself where it is exact"),
    field("high", pa.float64(), "upper end of its interval; the value itself where it is exact"),
    field("relation", pa.string(), "<=, >= or =: how the quantity should compare with the bound"),
    field("bound", pa.float64(), "the bound, or the closed form"),
    field("holds", pa.bool_(), "true if the whole interval obeys the relation; for =: if it has the bound"),
    field("fails", pa.bool_(), "true if no part of the interval obeys it"),
    field("level", pa.float64(), "confidence level of the interval; null where the value is exact"),
    field("n", pa.int64(), "independent replicates or draws behind the value; null where it is exact"),
]  # fmt: skip


def schema(keys: Sequence[pa.Field]) -> pa.Schema:
    """Schema of an experiment's table: its own key columns, then the common columns."""
    return pa.schema([*keys, *COLUMNS])


def exact(
    quantity: str, value: float, relation: Relation, bound: float, claim: str | None = None, **keys: Any
) -> Row:
    """Row of a quantity that is known up to rounding."""
    return _row(quantity, value, (value, value), relation, bound, claim, ROUNDING, keys)


def mean(
    quantity: str, values: Any, relation: Relation, bound: float, claim: str | None = None, **keys: Any
) -> Row:
    """Row of a mean over independent replicates, with a t-interval.

    Its level is LEVEL against a bound. Against a closed form it is that of 4 standard errors of a normal law.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, float)
    n = len(values)
    level = _four_standard_errors() if relation == "=" else LEVEL
    half = float(stdtrit(n - 1, 0.5 + level / 2) * values.std(ddof=1) / math.sqrt(n))
    centre = float(values.mean())
    ends = (centre - half, centre + half)
    return _row(quantity, centre, ends, relation, bound, claim, 0.0, {**keys, "level": level, "n": n})


def frequency(quantity: str, hits: Any, bound: float, claim: str | None = None, **keys: Any) -> Row:
    """Row of the relative frequency of True in `hits`, which should be the probability `bound`."""
    share, low, high = _wilson(hits)
    keys |= {"level": _four_standard_errors(), "n": np.size(hits)}
    return _row(quantity, share, (low, high), "=", bound, claim, ROUNDING, keys)


def mean_sign(quantity: str, signs: Any, bound: float, claim: str | None = None, **keys: Any) -> Row:
    """Row of the mean of `signs`, each ±1, which should be `bound`."""
    share, low, high = (2 * p - 1 for p in _wilson(np.asarray(signs) > 0))
    keys |= {"level": _four_standard_errors(), "n": np.size(signs)}
    return _row(quantity, share, (low, high), "=", bound, claim, ROUNDING, keys)


def _wilson(hits: Any) -> tuple[float, float, float]:
    """Relative frequency and its Wilson interval, which is right for frequencies of 0 and 1, too."""
    share = float(np.mean(hits))
    z2 = STANDARD_ERRORS**2 / np.size(hits)
    centre = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4) / (1 + z2)
    return share, centre - half, centre + half


def variance_ratio(
    quantity: str, values: Any, reference: float, bound: float, claim: str | None = None,
    relation: Relation = "=", **keys: Any,
) -> Row:  # fmt: skip
    """Row of the variance of independent normal `values`, divided by `reference`; a χ² interval."""
    from scipy.special import chdtri

    values = np.asarray(values, float)
    n, level = len(values), _four_standard_errors()
    ratio = float(values.var(ddof=1)) / reference
    tail = (1 - level) / 2
    ends = tuple(ratio * (n - 1) / float(chdtri(n - 1, p)) for p in (tail, 1 - tail))
    keys |= {"level": level, "n": n}
    return _row(quantity, ratio, (ends[0], ends[1]), relation, bound, claim, 0.0, keys)


def _row(
    quantity: str, value: float, ends: tuple[float, float], relation: Relation, bound: float,
    claim: str | None, tolerance: float, keys: Row,
) -> Row:  # fmt: skip
    low, high = ends
    room = tolerance * max(abs(bound), 1.0)
    at_most, at_least = high <= bound + room, low >= bound - room
    below, above = high < bound - room, low > bound + room
    outcomes = {
        "<=": (at_most, above),
        ">=": (at_least, below),
        "=": (not below and not above, below or above),
    }
    holds, fails = outcomes[relation]
    row = {"claim": claim, "quantity": quantity, "value": value, "low": low, "high": high}
    row |= {"relation": relation, "bound": bound, "holds": holds, "fails": fails, "level": None, "n": None}
    return {**row, **keys}


def _four_standard_errors() -> float:
    """Probability that a normal variable is within STANDARD_ERRORS of its mean."""
    return math.erf(STANDARD_ERRORS / math.sqrt(2))
