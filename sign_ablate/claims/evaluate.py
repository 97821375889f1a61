"""Test of a claim that compares arms, on one data set of a campaign."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from sign_ablate.claims import statistics
from sign_ablate.claims.contrasts import ANY, Cells, Comparison, Contrast
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.model import Claims
from sign_ablate.claims.outcome import Outcome, all_of, any_of
from sign_ablate.claims.sample import NotMeasuredError, Sample, decided
from sign_ablate.claims.verdict import DECIDED

#: statistics that count images or epochs, so that all seeds can have equal differences by chance
COUNTED = {"accuracy", "first-passage", "hand-off"}


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
        labels = {arm: self._label(arm, reading, self.dataset) for arm in contrast.weights}
        if twice := [label for label, count in Counter(labels.values()).items() if count > 1]:
            raise NotMeasuredError(f"{twice[0]} stands for several of its arms")
        terms = self._terms(test, contrast, reading)
        cells = Cells(self.evidence, self.dataset, labels, self.is_paper)
        if (missing := test.missing(cells)) is not None:
            raise NotMeasuredError(missing)
        options = test.options(cells)
        values = [self.evidence.values(t.dataset, t.label, test.measured, **options) for t in terms]
        margin = test.unit(cells) * self.claims.margin(test.margin or "", self._source)
        sample = Sample.of([t.weight for t in terms], values, test.target(), test.possible)
        judged = sample.with_failures(test.if_diverged())
        outcome = dataclasses.replace(
            decided(judged, contrast.rule, margin, alpha, parts),
            arms=test.named(_text(terms)),
            cells=tuple(dict.fromkeys(term.label for term in terms)),
            n_diverged=int(sample.diverged.sum()),
        )
        if test.measured in COUNTED and outcome.verdict in DECIDED and judged.is_constant:
            reason = "the same in all seeds: an interval without width decides nothing"
            outcome = dataclasses.replace(outcome, verdict="unresolved", reason=reason)
        if test.measured == "accuracy" and not test.target():
            outcome = dataclasses.replace(outcome, images=self._images(terms, outcome))
        outcome = self._unless_at_edge(test.concluded(outcome, values, cells), terms)
        return self._unless_partial(outcome, sample.values.shape[1])

    @property
    def _source(self) -> str:
        return self.evidence.campaign.datasets[self.dataset].source

    def _terms(self, test: Comparison, contrast: Contrast, reading: str) -> list[Term]:
        """The cells of a contrast. Raises NotMeasuredError if the campaign lacks one."""
        places = {self._with_source(source): sign for source, sign in test.sources().items()}
        return [
            Term(sign * weight, dataset, self._label(arm, reading, dataset))
            for dataset, sign in (places or {self.dataset: 1.0}).items()
            for arm, weight in contrast.weights.items()
        ]

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

    def _images(self, terms: Sequence[Term], outcome: Outcome) -> tuple[float, float] | None:
        """Interval for new seeds and new test images, for a difference of two arms without diverged seeds."""
        if outcome.level is None or outcome.n_diverged or sorted(t.weight for t in terms) != [-1.0, 1.0]:
            return None
        first, second = sorted(terms, key=lambda term: -term.weight)
        places = [(term.dataset, term.label) for term in (first, second)]
        seeds = sorted(set.intersection(*(self.evidence.seeds(*place) for place in places)))
        pair = [self.evidence.correct(*place, seeds) for place in places]
        if pair[0] is None or pair[1] is None:
            return None
        low, high = statistics.with_new_images(pair[0], pair[1], outcome.level)
        return low, high

    def _unless_at_edge(self, outcome: Outcome, terms: Sequence[Term]) -> Outcome:
        """The outcome, unresolved if it rests on a tuned value at the edge of its range."""
        places = [(term.dataset, term.label) for term in terms]
        edges = {f"{key} of {place[1]}": None for place in places for key in self.evidence.at_edge(*place)}
        if not edges or outcome.verdict not in DECIDED:
            return outcome
        reason = f"{outcome.verdict}, but at the edge of the range that was searched: {', '.join(edges)}"
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)

    def _unless_partial(self, outcome: Outcome, seeds: int) -> Outcome:
        """The outcome, unresolved before all seeds are in: a look after each of them would not keep α."""
        declared = len(self.evidence.campaign.seeds)
        if seeds == declared:
            return outcome
        so_far = f"{seeds} of {declared} seeds so far"
        if outcome.verdict in DECIDED:
            so_far = f"{outcome.verdict} with {so_far}"
        reason = "; ".join(filter(None, [outcome.reason, so_far]))
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)


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
