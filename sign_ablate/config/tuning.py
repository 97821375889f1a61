"""Model of a campaign's tuning: search spaces, and the choices that were made in them."""

import math
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from sign_ablate.config.base import Model, Name, Seed

#: Coordinates of every trial's point. Methods with fewer tuned options use the first of them, so that all
#: methods share points, and an option that is added to a search space moves none of the others.
DIMENSIONS = 4


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError("must be [low, high] with 0 < low < high: points are uniform in the logarithm")
    return bounds


Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]
#: key of a method → its range
Space = Annotated[dict[str, Range], Field(min_length=1, max_length=DIMENSIONS)]


class Tuning(Model):
    """Search for the options of methods on validation images, before the evaluation with `seeds`."""

    spaces: dict[Name, Space] = Field(
        min_length=1,
        description="Label of a method → key → [low, high]. The method must not set these keys. A method "
        "with axes is tuned for each combination on its own. `tuned_as: <cell>` in another method takes the "
        "values of that cell.",
    )
    trials: int = Field(16, ge=2, le=1024, description="Trials per cell: the first points of one sequence.")
    seed: Seed = Field(1000, description="Seed of all trials. It must not be one of `seeds`.")
    val: int = Field(
        gt=0,
        description="Training images that trials hold out, class-balanced. They select the trial with the "
        "highest accuracy on these images after its last epoch. Trials do not see the test images.",
    )
    file: str | None = Field(
        None, min_length=1, description="File of the choices. Unset: results/<campaign>/tuned.json."
    )

    @field_validator("spaces", mode="before")
    @classmethod
    def _lists_are_pairs(cls, spaces: Any) -> Any:
        """Accept [low, high] as YAML gives it, with whole numbers."""
        if not isinstance(spaces, dict):
            return spaces
        return {label: _pairs(space) for label, space in spaces.items()}


def _pairs(space: Any) -> Any:
    if not isinstance(space, dict):
        return space
    return {key: _pair(bounds) for key, bounds in space.items()}


def _pair(bounds: Any) -> Any:
    if isinstance(bounds, list | tuple) and all(type(b) in {int, float} for b in bounds):
        return tuple(map(float, bounds))
    return bounds


class Trial(Model):
    """A trial and its result."""

    values: dict[str, float]
    #: id of the run
    run: str
    #: accuracy on the validation images after the last epoch; None if the run diverged
    val_acc: float | None


class Choice(Model):
    """The choice for one cell on one data set: an entry of tuned.json."""

    #: hash of the search: its ranges, trials, and the cell's other options
    search: str
    values: dict[str, float]
    val_acc: float
    #: keys whose value lies in the outer tenth of its range
    at_edge: Annotated[tuple[str, ...], Field(strict=False)] = ()
    ranges: dict[str, Range]
    trials: Annotated[tuple[Trial, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _is_a_trial(self) -> Self:
        if self.values not in [trial.values for trial in self.trials]:
            raise ValueError("values: not those of one of the trials")
        return self


def middle(bounds: tuple[float, float]) -> float:
    """Geometric mean of a range."""
    return math.sqrt(bounds[0] * bounds[1])
