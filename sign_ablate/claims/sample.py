"""Values of a contrast over seeds, and a verdict on them that no diverged run could flip."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np

from sign_ablate.claims import statistics
from sign_ablate.claims import verdict as verdicts
from sign_ablate.claims.contrasts import Rule
from sign_ablate.claims.evidence import Values
from sign_ablate.claims.outcome import SMALL, Outcome, Verdict

#: fewest seeds for a verdict
LEAST_SEEDS = 2
#: Contrasts that differ by less are equal up to rounding. One image of a million is 1e-4 points.
_EQUAL = 1e-9


class NotMeasuredError(Exception):
    """A test has no data. The message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A statistic of several arms, by seeds that all of them have run with.

    Attributes:
        weights: weight of each arm.
        values: shape (arms, seeds), NaN where a run diverged.
        shift: subtracted from the weighted sum.
        possible: smallest and largest value that a diverged run could have had; None: the largest of all
            arms.
    """

    weights: np.ndarray
    values: np.ndarray
    shift: float
    possible: tuple[float, float | None]

    @classmethod
    def of(
        cls,
        weights: Sequence[float],
        values: Sequence[Values],
        shift: float = 0.0,
        possible: tuple[float, float | None] = (0.0, None),
    ) -> Self:
        """Sample of the seeds that all arms share. Raises NotMeasuredError if there is none, or no value."""
        seeds = sorted(set.intersection(*map(set, values)))
        if not seeds:
            raise NotMeasuredError("no seed that all of its arms have run with")
        table = np.array([[of[seed] for seed in seeds] for of in values], float)  # None becomes NaN
        if np.isnan(table).all():
            raise NotMeasuredError("all runs diverged")
        return cls(np.array(weights), table, shift, possible)

    def with_failures(self, value: float | None) -> Self:
        """The sample with a value in place of each diverged run. None: unchanged."""
        if value is None:
            return self
        return dataclasses.replace(self, values=np.where(np.isnan(self.values), value, self.values))

    @property
    def diverged(self) -> np.ndarray:
        """Mask of the seeds for which at least one arm has no value."""
        return np.isnan(self.values).any(0)

    def extremes(self) -> list[np.ndarray]:
        """Smallest and largest possible contrast of each seed, over the unknown values of diverged runs."""
        worst, best = self.possible
        best = np.nanmax(self.values) if best is None else best
        return [
            self._sums(np.where(np.isnan(self.values), np.where(up, best, worst), self.values))
            for up in (self.weights[:, None] < 0, self.weights[:, None] > 0)
        ]

    def shown(self) -> np.ndarray:
        """The contrast of the seeds that finished, or its smallest values if they are too few."""
        return self.extremes()[0] if self.few_finished else self._sums(self.values[:, ~self.diverged])

    @property
    def is_constant(self) -> bool:
        """True if the contrast is the same in all seeds that finished."""
        return bool(np.ptp(self.shown()) < _EQUAL)

    @property
    def few_finished(self) -> bool:
        """True if too few seeds finished for an interval."""
        return bool((~self.diverged).sum() < LEAST_SEEDS)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.weights @ values - self.shift)


def decided(sample: Sample, rule: Rule, margin: float, alpha: float, parts: int = 1) -> Outcome:
    """Verdict on a contrast, which is one of several parts of a claim.

    Each part has the level that `verdict.part` gives it. The interval is that of this level.
    """
    effect = statistics.effect(sample.shown(), alpha)
    n, n_diverged = sample.values.shape[1], int(sample.diverged.sum())
    outcome = Outcome(
        "unresolved", rule=rule, effect=effect, level=alpha, margin=margin, n_diverged=n_diverged
    )
    if n < LEAST_SEEDS:
        return dataclasses.replace(outcome, reason="one seed: no interval")
    verdict = verdicts.part(lambda level: _verdict(sample, rule, margin, float(level)), parts, alpha)
    if verdict == "refuted":
        level = alpha / parts
        outcome = dataclasses.replace(outcome, effect=statistics.effect(sample.shown(), level), level=level)
    remark = _remark(rule, effect, margin) if verdict == "supported" else ""
    reason = "; ".join(filter(None, [_divergence(sample), remark]))
    return dataclasses.replace(outcome, verdict=verdict, reason=reason)


def _divergence(sample: Sample) -> str:
    """Remark on the seeds that diverged, or an empty text."""
    if not (count := int(sample.diverged.sum())):
        return ""
    assumed = "; the effect has the smallest values that they could have had" if sample.few_finished else ""
    return f"{count} of {sample.values.shape[1]} seeds diverged{assumed}"


def _remark(rule: Rule, effect: statistics.Effect, margin: float) -> str:
    """Remark on the interval of a supported claim, or an empty text."""
    if rule == "greater" and effect.high < margin:
        return SMALL
    if rule == "same" and max(-effect.low, effect.high) >= margin:
        ends = f"[{effect.low90:+.2f}, {effect.high90:+.2f}]".replace("-", "−")
        return f"by the interval of the equivalence test, {ends}"
    return ""


def _verdict(sample: Sample, rule: Rule, margin: float, alpha: float) -> Verdict:
    """Verdict that holds for both extremes, else unresolved."""
    if rule == "trend":
        return "unresolved" if sample.diverged.any() else verdicts.trend(sample.values.T, margin, alpha)
    ends = [statistics.effect(of, alpha) for of in sample.extremes()]
    lowest, highest = (_judge(rule, end, margin) for end in ends)
    if rule == "same" and lowest == "refuted" and ends[0].mean < 0 < ends[1].mean:
        return "unresolved"  # refuted from both sides, with values between that are the same
    return lowest if lowest == highest else "unresolved"


def _judge(rule: Rule, effect: statistics.Effect, margin: float) -> Verdict:
    if rule == "same":
        return verdicts.same(effect, margin)
    if rule == "greater":
        return verdicts.greater(effect, margin)
    if rule == "below":
        return verdicts.below(effect, margin)
    return verdicts.above(effect, margin if rule == "above" else -margin)
