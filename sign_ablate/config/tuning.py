"""Model of a campaign's tuning: search spaces, and the choices that were made in them."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sign_ablate.config.base import Model, Name, Seed
from sign_ablate.config.errors import OptionError

#: Coordinates of every trial's point. Methods with fewer tuned options use the first of them, so that all
#: methods share points, and an option that is added to a search space moves none of the others.
DIMENSIONS = 4


def _pair(bounds: Any) -> Any:
    """Accept [low, high] as YAML gives it: a list, with whole numbers."""
    if not isinstance(bounds, list | tuple) or len(bounds) != 2 or not {*map(type, bounds)} <= {int, float}:
        raise ValueError("must be [low, high], two numbers (a list in the method makes a cell of each value)")
    return tuple(map(float, bounds))


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError("must be [low, high] with 0 < low < high: points are uniform in the logarithm")
    return bounds


Range = Annotated[tuple[float, float], BeforeValidator(_pair), AfterValidator(_rising)]
#: key of a method → its range
Space = Annotated[dict[str, Range], Field(min_length=1, max_length=DIMENSIONS)]


class Tuning(Model):
    """Search for the options of methods on validation images, before the evaluation with `seeds`."""

    spaces: dict[Name, Space] = Field(
        min_length=1,
        description="Label of a method → key → [low, high]. The method must not set these keys. A method "
        "with axes is tuned for each combination on its own. `tuned_as: <cell>` in another method takes the "
        "values of that cell, and must not set these keys either.",
    )
    trials: int = Field(16, ge=2, le=1024, description="Trials per cell, at the first points of a sequence.")
    seed: Seed = Field(1000, description="Seed of all trials. It must not be one of `seeds`.")
    val: int = Field(
        gt=0,
        description="Training images that trials hold out, class-balanced. The trial with the highest "
        "accuracy on them after its last epoch is chosen. Trials do not use the test images.",
    )
    file: str | None = Field(
        None, min_length=1, description="File of the choices. Unset: results/<campaign>/tuned.json."
    )


class Trial(Model):
    """A trial and its result."""

    values: dict[str, float]
    #: id of the run
    run: str
    #: accuracy on the validation images after the last epoch; None if the run diverged
    val_acc: float | None


class Choice(Model):
    """The choice for one cell on one data set: an entry of tuned.json.

    Attributes:
        search: hash of the search: its ranges, trials, and the cell's other options.
        values: values of the best trial. None if all trials diverged.
        val_acc: accuracy of the best trial. None if all trials diverged.
        at_edge: keys whose value lies in the outer tenth of its range.
        ranges: key → range that was searched.
        trials: all trials, in their order.
    """

    search: str
    values: dict[str, float] | None
    val_acc: float | None
    at_edge: Annotated[tuple[str, ...], Field(strict=False)] = ()
    ranges: dict[str, Range]
    trials: Annotated[tuple[Trial, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _is_the_best_trial(self) -> Self:
        best = best_of(self.trials)
        if best is None:
            if self.values is not None or self.val_acc is not None:
                raise OptionError("values", self.values, "all of its trials diverged; must be null")
            return self
        of_best = f"of the best of its trials, {best.run}"
        if self.val_acc != best.val_acc:
            raise OptionError("val_acc", self.val_acc, f"must be {best.val_acc}, that {of_best}")
        if (self.values, self.val_acc) not in [(trial.values, trial.val_acc) for trial in self.trials]:
            raise OptionError("values", self.values, f"must be {best.values}, those {of_best}")
        return self


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The trial of the highest accuracy, the first of several. None if all diverged."""
    finished = [trial for trial in trials if trial.val_acc is not None]
    return max(finished, key=lambda trial: trial.val_acc or 0.0, default=None)


def middle(bounds: tuple[float, float]) -> float:
    """Geometric mean of a range."""
    return math.sqrt(bounds[0] * bounds[1])
