"""Comparisons of other quantities than accuracies: of curves, of single steps, and of the theory lab."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sign_ablate.claims.contrasts import Comparison, Contrast, Statistic, Tested, minus
from sign_ablate.store.quantities import PROBE_QUANTITIES


class Rougher(Tested):
    """Test accuracy of `arm` fluctuates more between epochs than that of `reference` (standard deviation)."""

    comparison: Literal["rougher"] = "rougher"
    arm: str
    reference: str
    measured: ClassVar[Statistic] = "roughness"

    def contrasts(self) -> list[Contrast]:
        """The difference of the standard deviations."""
        return [minus(self.arm, self.reference)]


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

    def contrasts(self) -> list[Contrast]:
        """Epochs of `reference` minus epochs of `arm`."""
        return [minus(self.reference, self.arm)]


class HandOff(Tested):
    """In the epochs after its switch, `arm` stays within the margin below its accuracy before the switch."""

    comparison: Literal["hand-off"] = "hand-off"
    arm: str
    epochs: int = Field(5, gt=0, description="Epochs after the switch.")
    measured: ClassVar[Statistic] = "hand-off"

    def contrasts(self) -> list[Contrast]:
        """Lowest accuracy after the switch minus the accuracy before it."""
        return [Contrast({self.arm: 1.0}, "not worse")]


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
        return [Contrast({self.arm: 1.0}, self.side)]


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
