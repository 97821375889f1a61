"""Verdicts: rules from an effect's interval to supported, refuted or unresolved, and their combination.

A verdict is a function of α: the smaller α, the wider the intervals, and the more is unresolved.
`greater`, `above` and `below` support a false claim with a probability of at most α/2, and refute a true
one with at most α/2; `same` supports a false one with at most α.

**Claims of one figure or table share α** by Holm's procedure (`holm_levels`). A verdict is not one
p-value, so the procedure is applied to the verdicts: with r claims undecided, all are judged at α/r. Those
that are decided keep this level, and the rest are judged at the larger α/r that is left, until nothing
changes. For a test of one hypothesis this rejects what Holm's adjusted p-values reject. The intervals
shown beside a verdict are those of the level at which it was reached. Holm's proof is of one direction per
claim, and verdicts have two, so docs/verdict-sim.md measures the error. Since `same` errs with α where the
others err with α/2, it counts as two claims; as one, the error of a family would reach 8 % at α = 5 %.

**All parts, any reading.** `compound` needs every part, and `part` gives each the level at which the whole
keeps its α. `any_reading` needs one of the readings of a claim. There is deliberately no correction for their
number: the paper gets the benefit of several attempts. A claim is refuted only if every reading is refuted.

**A diverged run** must not be able to flip a verdict: `sample.decided` judges both extremes of what it might
have been.

Functions take scalars or arrays with one entry per replicate, as in `statistics`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from sign_ablate.claims.statistics import ALPHA, Effect, Floats, effect, page_trend

Verdict = Literal["supported", "refuted", "unresolved"]
DECIDED = ("supported", "refuted")
#: A Verdict, or an array of them.
Verdicts: TypeAlias = Any


def greater(effect: Effect, margin: float) -> Verdicts:
    """Verdict on "the difference is above 0", where less than `margin` is too small to matter.

    Supported if the interval lies above 0; if it is also below the margin, the difference is real but small.
    Refuted if the interval reaches 0 and lies below the margin.
    """
    return _choose(effect.low > 0, (effect.low <= 0) & (effect.high < margin))


def same(effect: Effect, margin: float) -> Verdicts:
    """Verdict on "the difference is within ± `margin`".

    Supported by two one-sided tests (TOST): if the 1 − 2α interval lies within the margins. Refuted if the
    1 − α interval lies outside.
    """
    within = (effect.low90 > -margin) & (effect.high90 < margin)
    return _choose(within, (effect.low > margin) | (effect.high < -margin))


def above(effect: Effect, bound: float) -> Verdicts:
    """Verdict on "the difference is above `bound`", such as −1 where a loss of one point is accepted.

    Supported if the interval lies above the bound, refuted if it lies below.
    """
    return _choose(effect.low > bound, effect.high < bound)


def below(effect: Effect, bound: float) -> Verdicts:
    """Verdict on "the difference is below `bound`", such as a cost of 2 %: the mirror image of `above`."""
    return _choose(effect.high < bound, effect.low > bound)


def trend(values: ArrayLike, margin: float, alpha: Floats = ALPHA) -> Verdicts:
    """Verdict on "values rise from dose to dose", where a total rise of less than `margin` does not matter.

    Supported if Page's test rejects at α/2, and the interval of the last dose against the first does not lie
    below 0. Refuted if it does not reject, and that interval lies below the margin.

    Args:
        values: shape (…, seeds, doses), with at least 3 doses; the columns in the order of the dose.
        margin: in the unit of the values.
        alpha: level.
    """
    table = np.asarray(values, dtype=np.float64)
    ends = effect(table[..., -1] - table[..., 0], alpha)
    rises = np.asarray(page_trend(table) <= np.asarray(alpha) / 2)
    return _choose(rises & (ends.high >= 0), ~rises & (ends.high < margin))


def part(judge: Callable[[Floats], Verdicts], parts: int, alpha: Floats = ALPHA) -> Verdicts:
    """Verdict on one of several parts of a claim, for `compound`.

    All parts must be supported, so each is supported at α. Any refuted part refutes the claim, so they share
    α for that: a part is refuted if it is at α and at α/`parts`.

    Args:
        judge: verdict on the part as a function of α.
        parts: number of parts.
        alpha: level of the claim.
    """
    whole, share = (np.asarray(judge(level)) for level in (alpha, np.asarray(alpha) / parts))
    return _choose(whole == "supported", (whole == "refuted") & (share == "refuted"))


def compound(verdicts: Sequence[Verdicts]) -> Verdicts:
    """Verdict on "all parts hold": supported if all parts are, refuted if any is. `part` has their levels."""
    parts = np.stack([np.asarray(verdict) for verdict in verdicts])
    return _choose((parts == "supported").all(0), (parts == "refuted").any(0))


def any_reading(verdicts: Sequence[Verdicts]) -> Verdicts:
    """Verdict on a claim whose text has several readings: supported if any reading is, refuted if all are."""
    readings = np.stack([np.asarray(verdict) for verdict in verdicts])
    return _choose((readings == "supported").any(0), (readings == "refuted").all(0))


def holm_levels(
    judges: Sequence[Callable[[Floats], Verdicts]],
    alpha: float = ALPHA,
    equivalences: Sequence[bool] | None = None,
) -> list[Floats]:
    """Level of each claim of a family, by Holm's procedure on verdicts.

    Args:
        judges: for each claim, its verdict as a function of α. Only supported and refuted ones are decided:
            a claim with a part that is not measured may be refuted at one level, and not measured at another.
        alpha: probability of any wrong verdict in the family that is accepted.
        equivalences: for each claim, True if `same` decides it or a part of it. In a family of several, such
            a claim counts twice. None: False for all.

    Returns:
        For each claim the level at which its verdict and its intervals are to be computed.
    """
    if not judges:
        return []
    counts = 1 + np.array(equivalences or [False] * len(judges), dtype=int)
    if len(judges) == 1:
        counts[:] = 1
    level: Floats = alpha / counts.sum()
    levels: Floats = 0.0
    decided: Floats = False
    while True:
        now = np.stack([np.isin(judge(level), DECIDED) for judge in judges])
        levels = np.where(decided, levels, np.broadcast_to(level, now.shape))
        if not (now & ~np.asarray(decided)).any():
            return list(levels.tolist() if levels.ndim == 1 else levels)
        decided = decided | now
        level = alpha / np.maximum(1, np.tensordot(counts, ~decided, 1))


def _choose(supported: Floats, refuted: Floats) -> Verdicts:
    """`supported` where the first condition holds, else `refuted` where the second does, or `unresolved`."""
    found = np.where(supported, "supported", np.where(refuted, "refuted", "unresolved"))
    return found.item() if found.ndim == 0 else found
