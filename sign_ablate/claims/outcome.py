"""Outcome of a test, and the combination of the outcomes of parts and of readings."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from sign_ablate.claims.contrasts import ANY

if TYPE_CHECKING:
    from sign_ablate.claims.contrasts import Rule
    from sign_ablate.claims.statistics import Effect

Verdict = Literal["supported", "refuted", "unresolved", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "unresolved", "not measured")
#: remark on a claim that is supported although its effect is too small to matter
SMALL = "by less than the margin"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a contrast, or of all parts and readings of a claim. A number that does not exist is None.

    Attributes:
        verdict: the verdict.
        reason: reason for "not measured" or "unresolved", or a caveat. May be empty.
        reading: the reading of the paper; `any` if there is only one.
        arms: the contrast by labels of cells, such as "hybrid − sgd".
        cells: the labels.
        rule: the rule that gave the verdict.
        effect: the contrast over seeds.
        level: α of its interval: that of the claim, or a part's share of it in a refuted part of several.
        images: interval of the effect for new seeds and new test images.
        margin: the margin, in the unit of the effect.
        n_diverged: seeds that diverged for at least one arm.
        parts: the outcomes that it combines.
    """

    verdict: Verdict
    reason: str = ""
    reading: str = ANY
    arms: str = ""
    cells: tuple[str, ...] = ()
    rule: "Rule | None" = None
    effect: "Effect | None" = None
    level: float | None = None
    images: tuple[float, float] | None = None
    margin: float | None = None
    n_diverged: int = 0
    parts: tuple["Outcome", ...] = ()


def all_of(parts: Sequence[Outcome]) -> Outcome:
    """Outcome of a claim that needs all of its parts, at least one: that of the deciding part.

    A refuted part decides first, then one that is not measured, then one that is unresolved. Of several, the
    one that is furthest from being supported decides.
    """
    for verdict in ("refuted", "not measured", "unresolved", "supported"):
        if of_verdict := [part for part in parts if part.verdict == verdict]:
            decides = min(of_verdict, key=_closeness)
            return dataclasses.replace(decides, parts=tuple(parts))
    raise ValueError("a claim needs at least one part")


def any_of(readings: Sequence[Outcome]) -> Outcome:
    """Outcome of a claim with several readings: supported if one of them is.

    It is refuted only if every reading is; the outcome is then that of the reading that comes closest. There
    is no correction for the number of readings, which favours the claim. Unless one is supported, the reason
    names the readings that are not measured, since they might support the claim.
    """
    if len(readings) == 1:
        return readings[0]
    parts = tuple(part for reading in readings for part in reading.parts)
    by = {verdict: [r for r in readings if r.verdict == verdict] for verdict in VERDICTS}
    missing = _missing(by["not measured"])
    if by["supported"]:
        return dataclasses.replace(max(by["supported"], key=_closeness), parts=parts)
    if by["unresolved"]:
        best = max(by["unresolved"], key=_closeness)
        return dataclasses.replace(best, reason="; ".join(filter(None, [best.reason, missing])), parts=parts)
    if not by["refuted"]:
        return dataclasses.replace(by["not measured"][0], parts=parts)
    best = max(by["refuted"], key=_closeness)
    if missing:
        reason = f"refuted in the reading {best.reading}, but {missing}"
        return dataclasses.replace(best, verdict="unresolved", reason=reason, parts=parts)
    return dataclasses.replace(best, parts=parts)


def _missing(readings: Sequence[Outcome]) -> str:
    """Clause on the readings that are not measured, with the reason of each; empty if there are none."""
    plural = "s" if len(readings) > 1 else ""
    named = ", ".join(f"{of.reading} ({of.reason})" for of in readings)
    return f"not measured in the reading{plural} {named}" if readings else ""


def _closeness(outcome: Outcome) -> float:
    """Number that is the larger, the more the effect speaks for the claim."""
    if outcome.effect is None:
        return float("-inf")
    mean = float(outcome.effect.mean)
    return -abs(mean) if outcome.rule == "same" else -mean if outcome.rule == "below" else mean
