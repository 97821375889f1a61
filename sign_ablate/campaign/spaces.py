"""Checks of search spaces: keys that can be searched, and ranges within those of their options."""

import functools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError, create_model

from sign_ablate.config.base import Model
from sign_ablate.config.errors import describe, shown, unknown
from sign_ablate.config.methods import Optimizer
from sign_ablate.config.train import Train
from sign_ablate.config.tuning import Range


def space_problems(
    label: str, model: type[Optimizer], space: Mapping[str, Range], values: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a line for each key of a search space that cannot be searched.

    Args:
        label: label of the method.
        model: options of its optimizer.
        space: its search space.
        values: keys that the method sets.
    """
    fields = {**Train.model_fields, **model.model_fields}
    for key, bounds in space.items():
        where, own = f"tuning.spaces.{label}.{key}", f"methods.{label}.{key}"
        if key not in fields:
            yield unknown(where, key, set(fields) - {"optimizer"}, "unknown key")
        elif float not in {fields[key].annotation, *typing.get_args(fields[key].annotation)}:
            yield (
                f"{where} = {shown(bounds)}: only real numbers can be searched; a list in {own} makes a cell "
                "of each value"
            )
        elif key in values:
            yield f"{own} = {shown(values[key])}: {where} searches for it; remove one"
        else:
            for problem in _outside(model if key in model.model_fields else Train, key, bounds):
                yield f"{where} = {shown(bounds)}: {problem}"


def _outside(model: type[Model], key: str, bounds: Range) -> Iterator[str]:
    """Yield the problem of each end of a range that its option does not accept."""
    for bound in bounds:
        try:
            _only(model, key).model_validate({key: bound})
        except ValidationError as error:
            yield f"{bound:g} {describe(error.errors()[0])}"


@functools.cache
def _only(model: type[Model], key: str) -> type[Model]:
    """Model of a single key of `model`."""
    field = model.model_fields[key]
    fields: dict[str, Any] = {key: (field.annotation, field)}
    return create_model("Only", __base__=Model, **fields)
