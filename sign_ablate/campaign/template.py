"""A cell on any data set: a method with one value of each of its axes, with its options checked."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sign_ablate.config.base import Model
from sign_ablate.config.errors import ConfigError, OptionError, line
from sign_ablate.config.methods import Optimizer
from sign_ablate.config.train import Train
from sign_ablate.config.tuning import Range, middle

M = typing.TypeVar("M", bound=Model)
Axes = tuple[tuple[str, Any], ...]


def label_of(method: str, axes: Axes) -> str:
    """Label of a cell: that of its method, followed by the values of its axes."""
    return " ".join([method, *(f"{key}={_short(value)}" for key, value in axes)])


@dataclasses.dataclass(frozen=True)
class Template:
    """A cell on any data set. Its tuned options are known once `tuning` has chosen them."""

    #: label of the method
    method: str
    #: (key, value) of each axis: a key that the configuration gives as a list
    axes: Axes
    model: type[Optimizer]
    #: options that the method sets, and those that `train` sets for all methods
    own: Mapping[str, Any]
    shared: Mapping[str, Any]
    #: label of the cell whose tuned values it takes: its own, another, or None
    tuned_as: str | None = None
    #: search space of that cell
    space: Mapping[str, Range] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """Label of the cell."""
        return label_of(self.method, self.axes)

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        name: str = self.model.model_fields["optimizer"].default
        return name

    @property
    def is_tuned(self) -> bool:
        """True if the cell has trials of its own."""
        return self.tuned_as == self.label

    @functools.cached_property
    def untuned(self) -> tuple[Optimizer, Train]:
        """Options of a cell that takes no tuned values. Raises ConfigError."""
        return self.options({})

    def options(self, tuned: Mapping[str, float]) -> tuple[Optimizer, Train]:
        """Options of the optimizer and of training, with `tuned` values. Raises ConfigError."""
        where = f"methods.{self.method}"
        chosen = {**self.shared, **tuned, **self.own}
        own = {**tuned, **self.own}
        method = _validate(
            self.model, {k: v for k, v in chosen.items() if k in self.model.model_fields}, where, own
        )
        train = _validate(Train, {k: v for k, v in chosen.items() if k in Train.model_fields}, where, own)
        _check_switch(where, method, train)
        _check_vote(where, method, train)
        return method, train

    def placeholder(self) -> dict[str, float]:
        """Values in the middle of the search space, with which options are checked before the choice."""
        return {key: middle(bounds) for key, bounds in self.space.items()}


def _validate(model: type[M], chosen: Mapping[str, Any], where: str, own: Mapping[str, Any]) -> M:
    """Validate `chosen` as a `model`. A problem that no key of the method causes is reported for `train`."""
    try:
        return model.model_validate(chosen)
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            key = _key(detail)
            shared = model is Train and ({key} if key else set(model.model_fields)).isdisjoint(own)
            text = line(detail, model, "train" if shared else where)
            # a shared value may contradict one of the method
            contradicts = shared and not detail["loc"] and not own.keys().isdisjoint(chosen)
            problems.append(f"{text} (in {where})" if contradicts else text)
        raise ConfigError("\n".join(problems)) from None


def _key(error: ErrorDetails) -> Any:
    """The key that causes a problem, or None if it is not a single key."""
    problem = error.get("ctx", {}).get("error")
    return problem.key if isinstance(problem, OptionError) else next(iter(error["loc"]), None)


def _check_switch(where: str, method: Optimizer, train: Train) -> None:
    t_switch = getattr(method, "t_switch", None)
    if t_switch is not None and train.epochs is not None and t_switch >= train.epochs:
        allowed = f"allowed: 1 to {train.epochs - 1}" if train.epochs > 1 else "give it at least 2 epochs"
        raise ConfigError(
            f"{where}.t_switch = {t_switch}: the run has {train.epochs} epochs, so the switch never comes; "
            f"{allowed}"
        )


def _check_vote(where: str, method: Optimizer, train: Train) -> None:
    if hasattr(method, "t_switch") and "vote" in train.aggregation:
        raise ConfigError(
            f"{where}.aggregation = {train.aggregation!r}: {method.optimizer} would step along the vote "
            "after its switch, too; choose mean or ef, or an optimizer without a switch"
        )


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
