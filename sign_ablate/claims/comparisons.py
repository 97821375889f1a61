"""Comparisons that test a claim, as claims.yaml writes them, and the contrasts of arms in them."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sign_ablate.config.base import Model
from sign_ablate.store.quantities import PROBE_QUANTITIES

#: quantity of a run that a contrast is made of
Statistic = Literal["accuracy", "roughness", "first-passage", "hand-off", "probe"]
#: rule that turns the interval of a contrast into a verdict
Rule = Literal["greater", "same", "not worse", "trend", "above", "below"]


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A weighted sum of a statistic over arms. Its interval over seeds decides.

    Attributes:
        weights: arm → weight.
        rule: greater: the sum exceeds 0. same: it lies within ± the margin. not worse: it exceeds − the
            margin. trend: the statistic rises from arm to arm; the sum is the last minus the first.
            above, below: the sum lies above or below the margin, which is a limit.
    """

    weights: Mapping[str, float]
    rule: Rule = "greater"


def minus(arm: str, other: str, rule: Rule = "greater") -> Contrast:
    """Contrast `arm` − `other`."""
    return Contrast({arm: 1.0, other: -1.0}, rule)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Arms = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False, min_length=1)]


class Comparison(Model):
    """Keys and defaults of all comparisons."""

    margin: str | None = Field(None, description="Name of a margin.")

    #: quantity of a run that is compared
    measured: ClassVar[Statistic] = "accuracy"

    def contrasts(self) -> list[Contrast]:
        """Contrasts of arms that must all hold."""
        return []

    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return tuple(dict.fromkeys(arm for contrast in self.contrasts() for arm in contrast.weights))


class Tested(Comparison):
    """A comparison with a margin."""

    margin: str = Field(description="Name of a margin.")


class Greater(Tested):
    """Each arm of `arm` has a higher test accuracy than each arm of `over`."""

    comparison: Literal["greater"] = "greater"
    arm: Arms
    over: Arms
    diverged: Literal["unknown", "failure"] = Field(
        "unknown",
        description="A seed that diverged. unknown: it must not be able to flip the verdict. failure: it "
        "counts as an accuracy of 0, where divergence is what the claim is about.",
    )

    def contrasts(self) -> list[Contrast]:
        """One difference for each pair."""
        return [minus(arm, other) for arm in self.arm for other in self.over]


class Rougher(Tested):
    """Test accuracy of `arm` moves more from epoch to epoch than that of `reference` (standard deviation)."""

    comparison: Literal["rougher"] = "rougher"
    arm: str
    reference: str
    measured: ClassVar[Statistic] = "roughness"

    def contrasts(self) -> list[Contrast]:
        """The difference of the standard deviations."""
        return [minus(self.arm, self.reference)]


class Ordering(Tested):
    """Each arm has a higher test accuracy than the next one."""

    comparison: Literal["ordering"] = "ordering"
    order: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]

    def contrasts(self) -> list[Contrast]:
        """One difference for each pair of neighbours."""
        return [minus(arm, other) for arm, other in itertools.pairwise(self.order)]


class Same(Tested):
    """The test accuracies of `arm` and of each arm of `reference` differ by less than the margin."""

    comparison: Literal["same"] = "same"
    arm: str
    reference: Arms

    def contrasts(self) -> list[Contrast]:
        """One difference for each arm of `reference`."""
        return [minus(self.arm, other, "same") for other in self.reference]


class NotWorse(Tested):
    """The test accuracy of `arm` is at most the margin below that of `reference`; above it, it may be any."""

    comparison: Literal["not-worse"] = "not-worse"
    arm: str
    reference: str

    def contrasts(self) -> list[Contrast]:
        """The difference."""
        return [minus(self.arm, self.reference, "not worse")]


class Trend(Tested):
    """Test accuracy falls from arm to arm of `order`."""

    comparison: Literal["trend"] = "trend"
    order: Annotated[tuple[str, ...], Field(strict=False, min_length=3)]

    def contrasts(self) -> list[Contrast]:
        """The first arm minus the last, with the others between them: it rises from the last to the first."""
        rising = self.order[::-1]
        return [Contrast({rising[0]: -1.0, **dict.fromkeys(rising[1:-1], 0.0), rising[-1]: 1.0}, "trend")]


class Interaction(Tested):
    """Two changes add up: (both − first) − (second − neither) is within the margin of 0."""

    comparison: Literal["interaction"] = "interaction"
    both: str
    first: str
    second: str
    neither: str

    def contrasts(self) -> list[Contrast]:
        """The interaction of the 2×2 design."""
        return [Contrast({self.both: 1.0, self.first: -1.0, self.second: -1.0, self.neither: 1.0}, "same")]


class Narrows(Tested):
    """`reference` − `arm` is smaller between the second arms than between the first."""

    comparison: Literal["narrows"] = "narrows"
    arm: Annotated[tuple[str, str], Field(strict=False)]
    reference: Annotated[tuple[str, str], Field(strict=False)]

    def contrasts(self) -> list[Contrast]:
        """The first gap minus the second."""
        (arm, later), (reference, later_reference) = self.arm, self.reference
        return [Contrast({reference: 1.0, arm: -1.0, later_reference: -1.0, later: 1.0})]


class Closes(Tested):
    """`arm` closes most of the gap between `floor` and `ceiling`, and the arms of `others` do not."""

    comparison: Literal["closes"] = "closes"
    arm: str
    floor: str
    ceiling: str
    others: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def contrasts(self) -> list[Contrast]:
        """Distances of the arms to the middle of the gap."""
        middle = {self.floor: 0.5, self.ceiling: 0.5}
        below = {arm: -weight for arm, weight in middle.items()}
        return [
            Contrast({self.arm: 1.0, **below}),
            *(Contrast({other: -1.0, **middle}) for other in self.others),
        ]


class Gap(Tested):
    """`arm` − `reference` is larger on the data set `harder` than on `easier`."""

    comparison: Literal["gap"] = "gap"
    arm: str
    reference: str
    easier: str
    harder: str

    def contrasts(self) -> list[Contrast]:
        """The difference, which is taken once per data set."""
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
    """For some epochs after its switch, `arm` does not fall below its accuracy before it by the margin."""

    comparison: Literal["hand-off"] = "hand-off"
    arm: str
    epochs: int = Field(5, gt=0, description="Epochs after the switch.")
    measured: ClassVar[Statistic] = "hand-off"

    def contrasts(self) -> list[Contrast]:
        """Lowest accuracy after the switch minus the accuracy before it."""
        return [Contrast({self.arm: 1.0}, "not worse")]


class Value(Tested):
    """The mean test accuracy of `arm` is the paper's `value` in percent. Made in the paper's setting only."""

    comparison: Literal["value"] = "value"
    arm: str
    value: float = Field(gt=0, lt=100)

    def contrasts(self) -> list[Contrast]:
        """The accuracy itself, from which `value` is subtracted."""
        return [Contrast({self.arm: 1.0}, "same")]


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
        """The value of the probe that comes nearest to the other side, or lies farthest on it."""
        return [Contrast({self.arm: 1.0}, self.side)]


class Measurement(Tested):
    """A measured quantity of a step, such as a cost in shares of its time, is below the margin."""

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
            raise ValueError("give results or readings, one of the two")
        return self


AnyComparison = Annotated[
    Greater
    | Rougher
    | Ordering
    | Same
    | NotWorse
    | Trend
    | Interaction
    | Narrows
    | Closes
    | Gap
    | FirstPassage
    | HandOff
    | Value
    | Probe
    | Measurement
    | Theory,
    Field(discriminator="comparison"),
]
