"""Test of a claim that compares arms, on one data set of a campaign."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sign_ablate.claims import statistics
from sign_ablate.claims.comparisons import Gap, Greater, Interaction, Value
from sign_ablate.claims.contrasts import Comparison, Contrast
from sign_ablate.claims.evidence import Evidence, Values
from sign_ablate.claims.model import ANY, Claims
from sign_ablate.claims.outcome import Outcome, all_of, any_of
from sign_ablate.claims.quantities import FirstPassage, HandOff, Probe, Rougher
from sign_ablate.claims.sample import NotMeasuredError, Sample, decided

#: fewest epochs whose roughness can be compared
LEAST_EPOCHS = 6


@dataclasses.dataclass(frozen=True)
class Term:
    """A cell in a contrast, with its weight."""

    weight: float
    dataset: str
    label: str


@dataclasses.dataclass(frozen=True)
class Tester:
    """Tests claims on one data set of a campaign.

    Attributes:
        claims: the content of claims.yaml.
        evidence: the campaign's tables.
        dataset: label of the data set.
        is_paper: True if the campaign has the paper's setting on this data set.
    """

    claims: Claims
    evidence: Evidence
    dataset: str
    is_paper: bool

    def evaluate(self, test: Comparison, alpha: float) -> Outcome:
        """Test a claim at a level, under every reading."""
        return any_of([self._of_reading(test, reading, alpha) for reading in self.claims.readings_of(test)])

    def _of_reading(self, test: Comparison, reading: str, alpha: float) -> Outcome:
        parts, contrasts = [], test.contrasts()
        for contrast in contrasts:
            try:
                outcome = self._of_contrast(test, contrast, reading, alpha, len(contrasts))
            except NotMeasuredError as missing:
                outcome = Outcome("not measured", str(missing))
            parts.append(dataclasses.replace(outcome, reading=reading))
        return all_of(parts)

    def _of_contrast(
        self, test: Comparison, contrast: Contrast, reading: str, alpha: float, parts: int
    ) -> Outcome:
        terms = self._terms(test, contrast, reading)
        options = self._options(test, reading)
        margin = self._margin(test, terms)
        values = [self.evidence.values(t.dataset, t.label, test.measured, **options) for t in terms]
        if isinstance(test, Greater) and test.diverged == "failure":
            values = [{seed: 0.0 if v is None else v for seed, v in of.items()} for of in values]
        shift = test.value if isinstance(test, Value) else 0.0
        sample = Sample.of([t.weight for t in terms], values, shift)
        outcome = dataclasses.replace(
            decided(sample, contrast.rule, margin, alpha, parts),
            arms=_text(terms),
            cells=tuple(dict.fromkeys(term.label for term in terms)),
        )
        if test.measured == "accuracy" and not shift:
            outcome = dataclasses.replace(outcome, images=self._images(terms, outcome, alpha))
        if isinstance(test, FirstPassage):
            outcome = self._with_threshold(outcome, terms, values, options["threshold"])
        if isinstance(test, Probe):
            outcome = _doubted(outcome, test)
        return self._unless_at_edge(outcome, terms)

    def _margin(self, test: Comparison, terms: Sequence[Term]) -> float:
        source = self.evidence.campaign.datasets[self.dataset].source
        margin = self.claims.margin(test.margin or "", source)
        if isinstance(test, FirstPassage):  # a share of the horizon
            margin *= max(self.evidence.horizon(term.dataset, term.label) for term in terms)
        return margin

    def _with_threshold(
        self, outcome: Outcome, terms: Sequence[Term], values: Sequence[Values], threshold: float
    ) -> Outcome:
        """Add the threshold to the reason of an outcome.

        Unresolved if neither arm reaches it with some seed, or if all differences are equal: an interval of
        zero width would claim more precision than whole epochs have.
        """
        reason = "; ".join(filter(None, [outcome.reason, f"threshold {100 * threshold:.1f} %"]))
        horizons = [self.evidence.horizon(term.dataset, term.label) for term in terms]
        never = [
            seed
            for seed in set.intersection(*map(set, values))
            if all(of[seed] == horizon for of, horizon in zip(values, horizons, strict=True))
        ]
        if never:
            reason = f"no arm reaches the threshold of {100 * threshold:.1f} % with {len(never)} of the seeds"
        elif outcome.effect is not None and outcome.effect.sd == 0:
            reason = f"the same in all seeds, since whole epochs are counted; {reason}"
        else:
            return dataclasses.replace(outcome, reason=reason)
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)

    def _terms(self, test: Comparison, contrast: Contrast, reading: str) -> list[Term]:
        """The cells of a contrast. Raises NotMeasuredError if the campaign lacks one."""
        places = [(1.0, self.dataset)]
        if isinstance(test, Gap):
            places = [(1.0, self._with_source(test.harder)), (-1.0, self._with_source(test.easier))]
        terms = [
            Term(sign * weight, dataset, self._label(arm, reading, dataset))
            for sign, dataset in places
            for arm, weight in contrast.weights.items()
        ]
        if isinstance(test, Interaction):
            both, second = (self._label(arm, reading, self.dataset) for arm in (test.both, test.second))
            alphas = [self.evidence.option(self.dataset, label, "alpha") for label in (both, second)]
            if alphas[0] != alphas[1]:
                raise NotMeasuredError(f"{both} has α = {alphas[0]}, and {second} has {alphas[1]}")
        label = terms[0].label
        if isinstance(test, HandOff) and self.evidence.option(self.dataset, label, "t_switch") is None:
            raise NotMeasuredError(f"{label} has no fixed T_switch")
        if isinstance(test, Probe) and self.evidence.probes is None:
            raise NotMeasuredError("no probes in this campaign: train.probe is not set")
        if isinstance(test, Rougher) and self.evidence.horizon(self.dataset, label) < LEAST_EPOCHS:
            raise NotMeasuredError(f"runs of fewer than {LEAST_EPOCHS} epochs")
        return terms

    def _label(self, arm: str, reading: str, dataset: str) -> str:
        readings = self.claims.arms[arm]
        labels = readings.get(reading) or readings[ANY]
        label = self.evidence.cell(dataset, labels)
        if label is None:
            for name in labels:
                if source := self.evidence.unconverged(dataset, name):
                    raise NotMeasuredError(f"no trial of {source} converged")
            raise NotMeasuredError(f"no arm {' or '.join(labels)}")
        return label

    def _with_source(self, source: str) -> str:
        for label, data in self.evidence.campaign.datasets.items():
            if data.source == source:
                return label
        raise NotMeasuredError(f"no data set of {source} in this campaign")

    def _options(self, test: Comparison, reading: str) -> dict[str, Any]:
        if isinstance(test, HandOff):
            return {"epochs": test.epochs}
        if isinstance(test, Probe):
            return {"quantity": test.quantity, "over": test.over, "side": test.side}
        if not isinstance(test, FirstPassage):
            return {}
        if self.is_paper:
            return {"threshold": test.threshold}
        reached = self.evidence.reached(self.dataset, self._label(test.reference, reading, self.dataset))
        if reached is None:
            raise NotMeasuredError(f"no finished run of {test.reference}, which sets the threshold")
        return {"threshold": test.share * reached}

    def _images(self, terms: Sequence[Term], outcome: Outcome, alpha: float) -> tuple[float, float] | None:
        """Interval for new seeds and new test images, for a difference of two arms without diverged seeds."""
        if outcome.effect is None or outcome.n_diverged or sorted(t.weight for t in terms) != [-1.0, 1.0]:
            return None
        first, second = sorted(terms, key=lambda term: -term.weight)
        places = [(term.dataset, term.label) for term in (first, second)]
        seeds = sorted(set.intersection(*(self.evidence.seeds(*place) for place in places)))
        pair = [self.evidence.correct(*place, seeds) for place in places]
        if pair[0] is None or pair[1] is None:
            return None
        low, high = statistics.with_new_images(pair[0], pair[1], alpha)
        return low, high

    def _unless_at_edge(self, outcome: Outcome, terms: Sequence[Term]) -> Outcome:
        """The outcome, unresolved if it rests on a tuned value at the edge of its range."""
        places = [(term.dataset, term.label) for term in terms]
        edges = {f"{key} of {place[1]}": None for place in places for key in self.evidence.at_edge(*place)}
        if not edges or outcome.verdict not in {"supported", "refuted"}:
            return outcome
        reason = f"{outcome.verdict}, but at the edge of the range that was searched: {', '.join(edges)}"
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)


def _doubted(outcome: Outcome, test: Probe) -> Outcome:
    """The outcome of a probe with its quantity; unresolved if another cause could refute the claim."""
    name = test.quantity + (f"/{test.over}" if test.over else "")
    outcome = dataclasses.replace(outcome, arms=f"{name} of {outcome.arms}")
    if outcome.verdict != "refuted" or not test.doubt:
        return outcome
    return dataclasses.replace(
        outcome, verdict="unresolved", reason=f"beyond the limit, which {test.doubt} would explain, too"
    )


def _text(terms: Sequence[Term]) -> str:
    """A contrast, such as "hybrid − sgd": without terms of weight 0, and with a positive one first."""
    terms = [term for term in terms if term.weight]
    if terms[0].weight < 0:
        terms.reverse()
    several = len({term.dataset for term in terms}) > 1
    parts = []
    for term in terms:
        size = "" if abs(term.weight) == 1 else f"{abs(term.weight):.3g}·"
        where = f" on {term.dataset}" if several else ""
        parts += ["−" if term.weight < 0 else "+", f"{size}{term.label}{where}"]
    return " ".join(parts).removeprefix("+ ")
