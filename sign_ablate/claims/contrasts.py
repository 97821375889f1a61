"""Contrasts of arms that decide a claim, and the keys that all comparisons share."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sign_ablate.config.base import Model

if TYPE_CHECKING:
    from sign_ablate.claims.evidence import Evidence, Values
    from sign_ablate.claims.outcome import Outcome

#: reading of an arm that the paper defines without ambiguity
ANY = "any"
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


def contrast(*weights: tuple[str, float], rule: Rule = "greater") -> Contrast:
    """Contrast of different arms, each with its weight. Raises ValueError if an arm stands twice."""
    for arm, count in Counter(arm for arm, _ in weights).items():
        if count > 1:
            raise ValueError(f"arm {arm!r} stands twice in a difference; compare different arms")
    return Contrast(dict(weights), rule)


def minus(arm: str, other: str, rule: Rule = "greater") -> Contrast:
    """Contrast `arm` − `other`."""
    return contrast((arm, 1.0), (other, -1.0), rule=rule)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Arms = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(strict=False, min_length=1)]


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a comparison's arms in a campaign.

    Attributes:
        evidence: the campaign's tables.
        dataset: label of the data set.
        labels: arm → label of its cell.
        is_paper: True if the campaign has the paper's setting on this data set.
    """

    evidence: "Evidence"
    dataset: str
    labels: Mapping[str, str]
    is_paper: bool

    def option(self, arm: str, name: str) -> float | None:
        """A column of an arm's cell in runs.parquet, such as alpha; None if the cell has no such option."""
        return self.evidence.option(self.dataset, self.labels[arm], name)

    def horizon(self, arm: str) -> int:
        """Epochs of an arm's longest run."""
        return self.evidence.horizon(self.dataset, self.labels[arm])


class Comparison(Model):
    """Keys and defaults of all comparisons."""

    margin: str | None = Field(None, description="Name of a margin.")

    #: quantity of a run that is compared
    measured: ClassVar[Statistic] = "accuracy"
    #: smallest and largest value that a diverged run could have had; None: the largest of all arms
    possible: ClassVar[tuple[float, float | None]] = (0.0, None)
    #: True if a key is a number of the paper, which claims of another scope cannot be about
    quotes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _of_different_arms(self) -> Self:
        self.contrasts()
        return self

    def contrasts(self) -> list[Contrast]:
        """Contrasts of arms that must all hold."""
        return []

    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return tuple(dict.fromkeys(arm for each in self.contrasts() for arm in each.weights))

    def sources(self) -> dict[str, float]:
        """Source of a data set → weight of the contrast on it. Empty: only on the data set under test."""
        return {}

    def target(self) -> float:
        """Value that is subtracted from a contrast."""
        return 0.0

    def if_diverged(self) -> float | None:
        """Value of a run that diverged; None if it has none."""
        return None

    def missing(self, cells: Cells) -> str | None:
        """Reason why cells cannot be compared, or None."""
        return None

    def options(self, cells: Cells) -> dict[str, Any]:
        """Options of the statistic: see `Evidence.values`."""
        return {}

    def unit(self, cells: Cells) -> float:
        """Unit of the margin, in units of the contrast."""
        return 1.0

    def named(self, text: str) -> str:
        """The text of a contrast of cells, with the quantity that it is of unless that is the accuracy."""
        return text

    def concluded(self, outcome: "Outcome", values: "Sequence[Values]", cells: Cells) -> "Outcome":
        """The outcome of a contrast, with this comparison's changes to its reason or verdict.

        Args:
            outcome: the outcome by the rule of the contrast.
            values: the statistic of each arm, in the order of the contrast.
            cells: the cells.
        """
        return outcome


class Tested(Comparison):
    """A comparison with a margin."""

    margin: str = Field(description="Name of a margin.")
