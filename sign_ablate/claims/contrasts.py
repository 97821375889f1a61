"""Contrasts of arms that decide a claim, and the keys that all comparisons share."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from sign_ablate.config.base import Model

#: quantity of a run that a contrast combines
Statistic = Literal["accuracy", "roughness", "first-passage", "hand-off", "probe"]
#: rule that turns the interval of a contrast into a verdict
Rule = Literal["greater", "same", "not worse", "trend", "above", "below"]


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A weighted sum of a statistic over arms, whose interval over seeds gives the verdict.

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
