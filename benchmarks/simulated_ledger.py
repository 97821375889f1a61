"""Claims of claims.yaml on simulated runs: truths, runs, verdicts of the rules, and which of them are wrong.

A family is simulated on its own: every arm that it compares has a true value and runs for each seed.
Quantities other than accuracy are simulated in units of their margins.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sign_ablate.claims.comparisons import Gap
from sign_ablate.claims.contrasts import ANY
from sign_ablate.claims.model import Claims
from sign_ablate.claims.quantities import Probe
from sign_ablate.claims.statistics import effect
from sign_ablate.claims.verdict import above, any_reading, compound, greater, holm_levels, part, same, trend

#: margin in points of the claims that order methods, and unit of the simulated truths
MARGIN = 0.5
#: difference in points between SGD and SignSGD-M on CIFAR-10 in the paper's Table I
GAP = 91.38 - 90.82
#: a collapsed run loses so many points
COLLAPSE = 20.0
COLLAPSED = 0.1
_EXACT = 1e-6
#: a share of the margin, so that a claim of equality is true with little to spare
_INSIDE = 0.99

Judge = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Part:
    """A contrast of arms: weights by arm, the rule, and its margin in points."""

    weights: dict[str, float]
    rule: str
    margin: float

    def judge(self, runs: dict[str, np.ndarray]) -> Judge:
        """The verdict as a function of α, on runs of shape (replicates, seeds) by arm."""
        if self.rule == "trend":
            doses = np.stack([runs[arm] for arm in self.weights], -1)
            return lambda alpha: trend(doses, self.margin, alpha)
        differences = sum(weight * runs[arm] for arm, weight in self.weights.items())
        if self.rule == "not worse":
            return lambda alpha: above(effect(differences, alpha), -self.margin)
        rule = {"greater": greater, "same": same}[self.rule]
        return lambda alpha: rule(effect(differences, alpha), self.margin)

    def wrong(self, truth: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """True where it would be wrong to support it, and where it would be wrong to refute it."""
        value = sum(weight * truth[arm] for arm, weight in self.weights.items())
        if self.rule == "same":
            size = np.abs(value)
            return size > self.margin - _EXACT, size < self.margin - _EXACT
        if self.rule == "not worse":
            return value < -self.margin + _EXACT, value > -self.margin + _EXACT
        return value < _EXACT, value > self.margin - _EXACT


@dataclasses.dataclass(frozen=True)
class SimulatedClaim:
    """A claim: its readings, each of which needs all of its parts."""

    readings: tuple[tuple[Part, ...], ...]

    @property
    def parts(self) -> list[Part]:
        """All parts of all readings."""
        return [part for reading in self.readings for part in reading]

    def judge(self, runs: dict[str, np.ndarray]) -> Judge:
        """The verdict as a function of α."""
        readings = [[part.judge(runs) for part in reading] for reading in self.readings]

        def verdict(alpha: Any) -> Any:
            return any_reading([compound([_part(judge, len(of), alpha) for judge in of]) for of in readings])

        return verdict

    def wrong(self, truth: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """True where no reading is true, and where a reading is true with all of its parts."""
        readings = [[part.wrong(truth) for part in reading] for reading in self.readings]
        false = np.all([np.any([support for support, _ in of], 0) for of in readings], 0)
        true = np.any([np.all([refute for _, refute in of], 0) for of in readings], 0)
        return false, true


def _part(judge: Judge, parts: int, alpha: Any) -> Any:
    return judge(alpha) if parts == 1 else part(judge, parts, alpha)


def families(claims: Claims, source: str = "cifar10") -> dict[str, list[SimulatedClaim]]:
    """Families of the claims that compare arms, with the margins of a data set."""
    found: dict[str, list[SimulatedClaim]] = {}
    for claim in claims.claims.values():
        if isinstance(claim.test, Probe):  # its limits are far from any value in doubt
            continue
        if contrasts := claim.test.contrasts():
            margin = claims.margin(claim.test.margin, source)
            scaled = margin if claim.test.measured == "accuracy" else MARGIN
            readings = []
            for reading in claims.readings_of(claim.test):
                names = {arm: _name(claims, arm, reading, claim.test.measured) for arm in claim.test.arms()}
                parts = [Part({names[a]: w for a, w in c.weights.items()}, c.rule, scaled) for c in contrasts]
                readings.append(tuple(_on_two(parts) if isinstance(claim.test, Gap) else parts))
            found.setdefault(claim.family, []).append(SimulatedClaim(tuple(readings)))
    return found


def _name(claims: Claims, arm: str, reading: str, measured: str) -> str:
    of_reading = "" if ANY in claims.arms[arm] else f" ({reading})"
    return f"{arm}{of_reading}" + ("" if measured == "accuracy" else f": {measured}")


def _on_two(parts: Iterable[Part]) -> list[Part]:
    """The difference of a contrast on two data sets."""
    return [
        dataclasses.replace(p, weights=p.weights | {f"{arm}, easier": -w for arm, w in p.weights.items()})
        for p in parts
    ]


def seven_orderings() -> list[SimulatedClaim]:
    """Seven methods that are each claimed to beat one reference."""
    return [
        SimulatedClaim(((Part({f"arm {i}": 1.0, "reference": -1.0}, "greater", MARGIN),),)) for i in range(7)
    ]


def truths(
    scenario: str, tests: Sequence[SimulatedClaim], replicates: int, rng: np.random.Generator
) -> dict[str, Any]:
    """True value of each arm, of shape (replicates,).

    Scenarios: `false` and `true`: every claim lies where it is just false, or just true, as nearly as the
    arms that they share allow. `gap`: orderings hold by the paper's gap, equivalences exactly. `random`: each
    arm lies at 0, ± the margin or the paper's gap.
    """
    parts = [part for test in tests for part in test.parts]
    arms = list(dict.fromkeys(arm for part in parts for arm in part.weights))
    if scenario == "random":
        values = rng.choice([0.0, MARGIN, -MARGIN, GAP], (len(arms), replicates))
        return dict(zip(arms, values, strict=True))
    weights = np.array([[part.weights.get(arm, 0.0) for arm in arms] for part in parts])
    targets = [_target(scenario, part) for part in parts]
    solved = np.linalg.lstsq(weights, np.array(targets), rcond=None)[0]
    return {arm: np.full(replicates, value) for arm, value in zip(arms, solved, strict=True)}


def _target(scenario: str, of: Part) -> float:
    if of.rule in {"same", "not worse"}:
        edge = of.margin if of.rule == "same" else -of.margin
        return {"false": edge, "true": _INSIDE * edge, "gap": 0.0}[scenario]
    return {"false": 0.0, "true": of.margin, "gap": GAP}[scenario]


def noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise with mean 0 and variance 1."""
    if kind == "t₃":
        return rng.standard_t(3, shape) / np.sqrt(3)
    return rng.normal(size=shape)


def runs_of(
    truth: dict[str, Any], kind: str, sd: float, correlation: float, seeds: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Runs of each arm, of shape (replicates, seeds). The seed is common to the arms.

    Kinds: `normal`; `t₃`; `collapsing`, normal and with a probability of 10 % 20 points lower; `one
    collapsing`, where only the first arm does that. Collapses are part of an arm's true mean.
    """
    shape = (seeds, len(next(iter(truth.values()))))  # transposed below, which makes sums over seeds fast
    of_seed = np.sqrt(correlation) * noise(kind, shape, rng)
    runs = {}
    for arm, value in truth.items():
        own = np.sqrt(1 - correlation) * noise(kind, shape, rng)
        values = value + sd * (of_seed + own)
        if kind == "collapsing" or (kind == "one collapsing" and not runs):
            values -= COLLAPSE * ((rng.random(shape) < COLLAPSED) - COLLAPSED)
        runs[arm] = values.T
    return runs


def decide(
    tests: Sequence[SimulatedClaim], runs: dict[str, np.ndarray], alpha: float, holm: bool = True
) -> np.ndarray:
    """Verdicts on the claims of a family, of shape (claims, replicates)."""
    judges = [test.judge(runs) for test in tests]
    equivalences = [any(part.rule == "same" for part in test.parts) for test in tests]
    levels = holm_levels(judges, alpha, equivalences) if holm else [alpha] * len(judges)
    return np.stack([judge(level) for judge, level in zip(judges, levels, strict=True)])


def errors(tests: Sequence[SimulatedClaim], truth: dict[str, Any], verdicts: np.ndarray) -> np.ndarray:
    """True for each verdict that is wrong."""
    wrong = [test.wrong(truth) for test in tests]
    return np.stack(
        [
            ((of == "supported") & false) | ((of == "refuted") & true)
            for of, (false, true) in zip(verdicts, wrong, strict=True)
        ]
    )
