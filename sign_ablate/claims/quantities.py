"""Comparisons of other quantities than accuracies: of curves, of single steps, and of the theory lab."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sign_ablate.claims.contrasts import Cells, Comparison, Contrast, Statistic, Tested, contrast, minus
from sign_ablate.claims.outcome import Outcome
from sign_ablate.store.quantities import PROBE_NAMES, PROBE_QUANTITIES

if TYPE_CHECKING:
    from sign_ablate.claims.evidence import Values

#: fewest epochs whose roughness can be compared
LEAST_EPOCHS = 6


class Rougher(Tested):
    """Test accuracy of `arm` fluctuates more between epochs than that of `reference` (standard deviation)."""

    comparison: Literal["rougher"] = "rougher"
    arm: str
    reference: str
    measured: ClassVar[Statistic] = "roughness"
    possible: ClassVar[tuple[float, float | None]] = (0.0, 100.0)

    def contrasts(self) -> list[Contrast]:
        """The difference of the standard deviations."""
        return [minus(self.arm, self.reference)]

    def named(self, text: str) -> str:
        """The quantity, before the arms."""
        return f"SD of changes from epoch to epoch: {text}"

    def missing(self, cells: Cells) -> str | None:
        """Reason for runs with too few epochs for a standard deviation, or None."""
        short = min(cells.horizon(self.arm), cells.horizon(self.reference)) < LEAST_EPOCHS
        return f"runs of fewer than {LEAST_EPOCHS} epochs" if short else None


class FirstPassage(Tested):
    """`arm` reaches a test accuracy in fewer epochs than `reference`.

    The threshold is the paper's in the paper's setting. Elsewhere it is the same share of what `reference`
    reached: its best validation accuracy in tuning, or without tuning its mean test accuracy.
    """

    comparison: Literal["first-passage"] = "first-passage"
    arm: str
    reference: str
    threshold: float = Field(gt=0, lt=1, description="Test accuracy in the paper's setting.")
    share: float = Field(
        gt=0, lt=1, description="Threshold elsewhere, as a share of the reference's accuracy."
    )
    measured: ClassVar[Statistic] = "first-passage"
    quotes: ClassVar[bool] = True

    def contrasts(self) -> list[Contrast]:
        """Epochs of `reference` minus epochs of `arm`."""
        return [minus(self.reference, self.arm)]

    def named(self, text: str) -> str:
        """The quantity, before the arms."""
        return f"epochs below the threshold: {text}"

    def _threshold(self, cells: Cells) -> float | None:
        """The threshold as a fraction; None if nothing sets it."""
        if cells.is_paper:
            return self.threshold
        reached = cells.evidence.reached(cells.dataset, cells.labels[self.reference])
        return None if reached is None else self.share * reached

    def missing(self, cells: Cells) -> str | None:
        """Reason if the reference sets the threshold and has no finished run, or None."""
        absent = self._threshold(cells) is None
        return f"no finished run of {self.reference}, which sets the threshold" if absent else None

    def options(self, cells: Cells) -> dict[str, Any]:
        """The threshold."""
        return {"threshold": self._threshold(cells)}

    def unit(self, cells: Cells) -> float:
        """The horizon: the margin is a share of it."""
        return float(max(cells.horizon(arm) for arm in self.arms()))

    def concluded(self, outcome: Outcome, values: "Sequence[Values]", cells: Cells) -> Outcome:
        """Add the threshold to the reason.

        Unresolved if neither arm reaches it with some seed.
        """
        percent = 100 * self.options(cells)["threshold"]
        reason = "; ".join(filter(None, [outcome.reason, f"threshold {percent:.1f} %"]))
        horizons = [cells.horizon(arm) for arm in self.arms()]
        never = [
            seed
            for seed in set.intersection(*map(set, values))
            if all(of[seed] == horizon for of, horizon in zip(values, horizons, strict=True))
        ]
        if not never:
            return dataclasses.replace(outcome, reason=reason)
        reason = f"no arm reaches the threshold of {percent:.1f} % with {len(never)} of the seeds"
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)


class HandOff(Tested):
    """In the epochs after its switch, `arm` stays within the margin below its accuracy before the switch."""

    comparison: Literal["hand-off"] = "hand-off"
    arm: str
    epochs: int = Field(5, gt=0, description="Epochs after the switch.")
    measured: ClassVar[Statistic] = "hand-off"
    possible: ClassVar[tuple[float, float | None]] = (-100.0, None)

    def contrasts(self) -> list[Contrast]:
        """Lowest accuracy after the switch minus the accuracy before it."""
        return [contrast((self.arm, 1.0), rule="not worse")]

    def named(self, text: str) -> str:
        """The quantity, before the arm."""
        return f"lowest accuracy after the switch − accuracy before it: {text}"

    def missing(self, cells: Cells) -> str | None:
        """Reason for a switch without a fixed epoch, or with no epoch after it, or None."""
        switch, label = cells.option(self.arm, "t_switch"), cells.labels[self.arm]
        if switch is None:
            return f"{label} has no fixed T_switch"
        return f"{label} has no epoch after its switch" if cells.horizon(self.arm) <= switch else None

    def options(self, cells: Cells) -> dict[str, Any]:
        """The epochs after the switch."""
        return {"epochs": self.epochs}


def _known(quantity: str) -> str:
    if quantity not in PROBE_QUANTITIES:
        raise ValueError(f"must be one of {', '.join(PROBE_QUANTITIES)}")
    return quantity


Quantity = Annotated[str, AfterValidator(_known)]


class Probe(Tested):
    """A quantity of probed steps (probes.parquet) lies on one side of the margin at every probe of a run."""

    comparison: Literal["probe"] = "probe"
    arm: str
    quantity: Quantity = Field(description="Quantity of probe.parquet.")
    over: Quantity | None = Field(None, description="Quantity of the same probe by which it is divided.")
    side: Literal["above", "below"] = Field(description="Side of the margin on which the claim holds.")
    doubt: str = Field(
        "",
        description="Another cause that brings the quantity to the other side. With it, the claim is "
        "unresolved there instead of refuted.",
    )
    measured: ClassVar[Statistic] = "probe"

    def contrasts(self) -> list[Contrast]:
        """The extreme value over the probes: the lowest for side "above", the highest for "below"."""
        return [contrast((self.arm, 1.0), rule=self.side)]

    def named(self, text: str) -> str:
        """The quantity of the arm."""
        names = [PROBE_NAMES.get(name, name) for name in (self.quantity, self.over) if name]
        return f"{' / '.join(names)}: {text}"

    def missing(self, cells: Cells) -> str | None:
        """Reason for a campaign without probes, or None."""
        absent = cells.evidence.probes is None
        return "no probes in this campaign: train.probe is not set" if absent else None

    def options(self, cells: Cells) -> dict[str, Any]:
        """The quantity, and the side of the margin."""
        return {"quantity": self.quantity, "over": self.over, "side": self.side}

    def concluded(self, outcome: Outcome, values: "Sequence[Values]", cells: Cells) -> Outcome:
        """Unresolved instead of refuted if another cause could refute the claim."""
        if outcome.verdict != "refuted" or not self.doubt:
            return outcome
        reason = f"beyond the limit, which {self.doubt} would explain, too"
        return dataclasses.replace(outcome, verdict="unresolved", reason=reason)


class Measurement(Tested):
    """A measured quantity of a step, such as a cost as a share of its time, is below the margin."""

    comparison: Literal["measurement"] = "measurement"
    quantity: str


class Theory(Comparison):
    """Results of the theory lab: all of `results` must hold, or one of `readings`."""

    comparison: Literal["theory"] = "theory"
    results: Annotated[tuple[str, ...], Field(strict=False)] = ()
    readings: dict[str, str] = Field({}, description="Reading of the paper's text → result.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.results) == bool(self.readings):
            raise ValueError("give either results or readings")
        return self
