"""The ledger: the verdict on each claim for each data set of a campaign, and its table, claims.parquet."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sign_ablate.claims import statistics
from sign_ablate.claims import verdict as verdicts
from sign_ablate.claims.evaluate import Tester
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.model import OTHER, Claim, Claims
from sign_ablate.claims.outcome import Outcome, Verdict, all_of, any_of
from sign_ablate.claims.quantities import Measurement, Theory


@dataclasses.dataclass(frozen=True)
class Row:
    """A claim on a data set, with its outcome."""

    name: str
    claim: Claim
    dataset: str | None
    outcome: Outcome
    #: the tester; None for a claim that compares no arms
    tester: Tester | None = None
    #: level of the test
    alpha: float | None = None
    #: differences of the campaign from the paper's setting; empty if there are none, or none that matter
    proxy: str = ""

    @property
    def verdict(self) -> Verdict:
        """The verdict. A proxy decides nothing."""
        return "not measured" if self.proxy else self.outcome.verdict

    def at(self, alpha: float) -> Outcome:
        """The outcome at another level."""
        return self.tester.evaluate(self.claim.test, alpha) if self.tester else self.outcome

    def judge(self, alpha: float) -> Verdict:
        """The verdict of this campaign, proxy or not, at another level."""
        return self.at(float(alpha)).verdict


def ledger(claims: Claims, evidence: Evidence) -> list[Row]:
    """Evaluate all claims on a campaign, in the order of claims.yaml.

    The claims of a family on one data set share α by Holm's procedure. Claims without data do not count. With
    the seeds of the second look, a verdict of the first look stands.
    """
    rows = _judged(claims, evidence)
    if (first := evidence.first_look()) is None:
        return rows
    earlier = {(row.name, row.dataset): row for row in _judged(claims, first)}
    return [_standing(earlier.get((row.name, row.dataset)), row) for row in rows]


def _standing(first: Row | None, second: Row) -> Row:
    """The row of the first look if that decided the claim, else of the second."""
    if first is None or first.tester is None or first.outcome.verdict not in verdicts.DECIDED:
        return second
    reason = "; ".join(filter(None, [first.outcome.reason, "decided at the first look"]))
    return dataclasses.replace(first, outcome=dataclasses.replace(first.outcome, reason=reason))


def _judged(claims: Claims, evidence: Evidence) -> list[Row]:
    rows = [row for name, claim in claims.claims.items() for row in _rows(name, claim, claims, evidence)]
    families: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        if row.tester is not None and row.outcome.verdict != "not measured":
            families.setdefault((row.claim.family, row.tester.dataset), []).append(index)
    for members in families.values():
        equivalences = [_is_equivalence(rows[i].claim) for i in members]
        levels = verdicts.holm_levels([rows[i].judge for i in members], _alpha(evidence), equivalences)
        for index, level in zip(members, levels, strict=True):
            rows[index] = dataclasses.replace(rows[index], outcome=rows[index].at(level), alpha=level)
    return rows


def _is_equivalence(claim: Claim) -> bool:
    return any(contrast.rule == "same" for contrast in claim.test.contrasts())


def _alpha(evidence: Evidence) -> float:
    looks = [seeds for seeds in statistics.LOOKS if seeds < len(evidence.campaign.seeds)]
    return statistics.look_alpha(min(len(looks) + 1, len(statistics.LOOKS)))


def _rows(name: str, claim: Claim, claims: Claims, evidence: Evidence) -> Iterator[Row]:
    """A claim on each data set that it is tested on, or one row that says what is missing."""
    test = claim.test
    if isinstance(test, Theory):
        found = [all_of([_of_theory(result, evidence) for result in test.results])] if test.results else []
        for reading, result in test.readings.items():
            outcome = dataclasses.replace(_of_theory(result, evidence), reading=reading)
            found.append(dataclasses.replace(outcome, parts=(outcome,)))
        yield Row(name, claim, None, any_of(found))
    elif isinstance(test, Measurement):
        yield Row(name, claim, None, _of_measurement(test, claims, evidence))
    else:
        datasets = _datasets(claim, claims, evidence)
        if not datasets:
            wanted = next(iter(test.sources()), claim.data)
            yield Row(name, claim, None, Outcome("not measured", f"no data set of {wanted} in this campaign"))
        for dataset in datasets:
            proxy = _proxy(claim, claims, evidence, dataset)
            if proxy and test.target():
                outcome = Outcome("not measured", "a proxy cannot test the paper's number")
                yield Row(name, claim, dataset, outcome, proxy=proxy)
            else:
                tester = Tester(claims, evidence, dataset, is_paper=not proxy)
                yield Row(name, claim, dataset, tester.evaluate(test, _alpha(evidence)), tester, proxy=proxy)


def _datasets(claim: Claim, claims: Claims, evidence: Evidence) -> list[str]:
    """Labels of the data sets that a claim is tested on: the paper's, or substitutes for it."""
    sources = {label: data.source for label, data in evidence.campaign.datasets.items()}
    if compared := list(claim.test.sources()):
        return [label for label, source in sources.items() if source == compared[0]]
    others = {source for source in claims.settings if claim.specific and source != claim.data}
    return [label for label, source in sources.items() if source not in others]


def _proxy(claim: Claim, claims: Claims, evidence: Evidence, dataset: str) -> str:
    """Differences of a campaign from the setting that decides a claim; empty if there are none."""
    if claim.scope not in {"paper", "step-level"}:
        return ""
    sources = {label: data.source for label, data in evidence.campaign.datasets.items()}
    compared = [label for label, source in sources.items() if source in claim.test.sources()]
    found = [_differences(claim, claims, evidence, label) for label in compared or [dataset]]
    return ", ".join(dict.fromkeys(difference for of in found for difference in of))


def _differences(claim: Claim, claims: Claims, evidence: Evidence, dataset: str) -> dict[str, None]:
    """Differences of one data set's runs from the setting that decides a claim."""
    source = evidence.campaign.datasets[dataset].source
    if source not in claims.settings:
        return {f"data: {source}": None}
    paper, found = claims.settings[source], dict[str, None]()
    if claim.data not in {None, source}:
        found[f"data: {source}"] = None
    for arm in claim.test.arms():
        for labels in claims.arms[arm].values():
            label = evidence.cell(dataset, labels)
            if label is not None:
                model, epochs, whole = evidence.setting(dataset, label)
                found |= {} if model == paper.model else {f"network: {model}": None}
                if claim.scope == "step-level":
                    continue
                length = f"epochs: {epochs}" if epochs else "a length in steps"
                found |= {} if epochs == paper.epochs else {length: None}
                found |= {} if whole else {"a part of the images": None}
                found |= {} if evidence.choice(dataset, label) else {"not tuned": None}
    return found


def _of_theory(result: str, evidence: Evidence) -> Outcome:
    """Outcome of a result of the theory lab."""
    row = evidence.theory.get(result)
    if row is None:
        missing = f"the theory lab has no result {result}" if evidence.theory else "run snakemake theory"
        return Outcome("not measured", missing)
    relation = {">=": "≥", "<=": "≤"}.get(row["relation"], row["relation"])
    limit = f"{row['quantity']}, should be {relation} {row['bound']:.3g}".replace("-", "−")
    return Outcome(
        row["verdict"], arms=f"{limit}: {row['statement']}", effect=_given(row), margin=row["bound"]
    )


def _of_measurement(test: Measurement, claims: Claims, evidence: Evidence) -> Outcome:
    """Outcome of a measured quantity against a limit."""
    row = evidence.measurements.get(test.quantity)
    if row is None:
        return Outcome("not measured", f"no measurement of {test.quantity}: make bench")
    margin = claims.margins[test.margin][OTHER]
    effect = _given(row)
    return Outcome(
        verdicts.below(effect, margin),
        arms="share of the time of a training step",
        effect=effect,
        margin=margin,
    )


def _given(row: Any) -> statistics.Effect:
    """Effect with an interval that was computed elsewhere."""
    n, nan = 0 if pd.isna(row["n"]) else int(row["n"]), math.nan
    return statistics.Effect(n, row["value"], nan, row["low"], row["high"], nan, nan, np.empty(0))
