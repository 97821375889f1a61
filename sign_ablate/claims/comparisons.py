"""Comparisons of test accuracies, as claims.yaml writes them, and the union of all comparisons."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from sign_ablate.claims.contrasts import Arms, Cells, Contrast, Tested, contrast, minus
from sign_ablate.claims.quantities import FirstPassage, HandOff, Measurement, Probe, Rougher, Theory

if TYPE_CHECKING:
    from sign_ablate.claims.evidence import Values
    from sign_ablate.claims.outcome import Outcome


class Greater(Tested):
    """Each arm of `arm` has a higher test accuracy than each arm of `over`."""

    comparison: Literal["greater"] = "greater"
    arm: Arms
    over: Arms
    diverged: Literal["unknown", "failure"] = Field(
        "unknown",
        description="Treatment of a diverged seed. unknown: it must not be able to flip the verdict. "
        "failure: it counts as an accuracy of 0, for claims about divergence.",
    )

    def contrasts(self) -> list[Contrast]:
        """One difference for each pair."""
        return [minus(arm, other) for arm in self.arm for other in self.over]

    def if_diverged(self) -> float | None:
        """An accuracy of 0 where divergence is a failure."""
        return 0.0 if self.diverged == "failure" else None


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
    """The test accuracy of `arm` is not below that of `reference` by more than the margin."""

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
        """The first arm minus the last, with all arms, since the rule tests the rise from last to first."""
        rising = self.order[::-1]
        between = ((arm, 0.0) for arm in rising[1:-1])
        return [contrast((rising[0], -1.0), *between, (rising[-1], 1.0), rule="trend")]


class Interaction(Tested):
    """Two changes do not spoil each other: (both − first) − (second − neither) is not below − the margin."""

    comparison: Literal["interaction"] = "interaction"
    both: str
    first: str
    second: str
    neither: str

    def contrasts(self) -> list[Contrast]:
        """The interaction of the 2×2 design."""
        changed, unchanged = (
            ((self.both, 1.0), (self.first, -1.0)),
            ((self.second, -1.0), (self.neither, 1.0)),
        )
        return [contrast(*changed, *unchanged, rule="not worse")]

    def missing(self, cells: Cells) -> str | None:
        """The dither of `both` must be that of `second`."""
        both, second = (cells.option(arm, "alpha") for arm in (self.both, self.second))
        if both == second:
            return None
        return f"{cells.labels[self.both]} has α = {both}, and {cells.labels[self.second]} has {second}"


class Narrows(Tested):
    """`reference` − `arm` is smaller between the second arms than between the first."""

    comparison: Literal["narrows"] = "narrows"
    arm: Annotated[tuple[str, str], Field(strict=False)]
    reference: Annotated[tuple[str, str], Field(strict=False)]

    def contrasts(self) -> list[Contrast]:
        """The first gap minus the second."""
        (arm, later), (reference, later_reference) = self.arm, self.reference
        return [contrast((reference, 1.0), (arm, -1.0), (later_reference, -1.0), (later, 1.0))]


class Closes(Tested):
    """`arm` closes most of the gap between `floor` and `ceiling`, and the arms of `others` do not."""

    comparison: Literal["closes"] = "closes"
    arm: str
    floor: str
    ceiling: str
    others: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def contrasts(self) -> list[Contrast]:
        """The gap itself, without which there is nothing to close, and distances to its middle."""
        ends = (self.floor, self.ceiling)
        return [
            minus(self.ceiling, self.floor),
            contrast((self.arm, 1.0), *((end, -0.5) for end in ends)),
            *(contrast((other, -1.0), *((end, 0.5) for end in ends)) for other in self.others),
        ]

    def concluded(self, outcome: "Outcome", values: "Sequence[Values]", cells: Cells) -> "Outcome":
        """Unresolved instead of refuted if there is no gap, about which the claim says nothing."""
        is_gap = len(values) == 2  # the distances to the middle have three arms
        if not is_gap or outcome.verdict != "refuted":
            return outcome
        return dataclasses.replace(outcome, verdict="unresolved", reason="no gap to close")


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

    def sources(self) -> dict[str, float]:
        """`harder` minus `easier`."""
        return {self.harder: 1.0, self.easier: -1.0}


class Value(Tested):
    """The mean test accuracy of `arm` is the paper's `value` in percent. For the paper's setting only."""

    comparison: Literal["value"] = "value"
    arm: str
    value: float = Field(gt=0, lt=100)
    quotes: ClassVar[bool] = True

    def contrasts(self) -> list[Contrast]:
        """The accuracy itself."""
        return [contrast((self.arm, 1.0), rule="same")]

    def target(self) -> float:
        """The paper's value."""
        return self.value

    def named(self, text: str) -> str:
        """The difference from the paper's value."""
        return f"{text} − {self.value:g}"


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
