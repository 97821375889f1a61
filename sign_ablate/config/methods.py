"""Models of the methods in a configuration, created from the options that the optimizers declare.

The differences between a configuration and a constructor are here and in `sign_ablate.optim.registry.build`:
the learning rate is required, T_switch counts epochs, `dither` is called `site`, a pair of β is two keys, and
`exclude_norm_bias` is a key of every method.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model, model_validator

from sign_ablate.config.base import Model
from sign_ablate.optim import registry
from sign_ablate.optim.options.declare import ABOVE_0, REQUIRED, Declared
from sign_ablate.optim.options.method import Method as Registered

#: keys whose constructor option has another name. Renaming a key would rename every run that sets it.
SITE, T_SWITCH = "site", "t_switch"


class Optimizer(Model):
    """Options of every method."""

    optimizer: str
    lr: Annotated[float, Field(gt=0)] = Field(description="Learning rate: δ for the sign-based methods.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="Weight decay.")
    exclude_norm_bias: bool = Field(
        False, description="No weight decay on biases and normalisation: parameters of at most one dimension."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.exclude_norm_bias and not self.weight_decay:
            raise ValueError("exclude_norm_bias has no effect without weight_decay")
        method = registry.METHODS[self.optimizer]
        values = self.model_dump(exclude={"optimizer"})
        if values.get(T_SWITCH, 1) is None and values["trigger"] == "fixed":
            raise ValueError("t_switch: required, but missing (or choose a trigger)")
        for name, problem in method.problems(registry.constructed(method, values, steps_per_epoch=1)):
            raise ValueError(f"{T_SWITCH if name == 'switch_step' else name} {problem}")
        return self


def keys(method: Registered) -> Iterator[Declared]:
    """Yield the keys of a method in a configuration, without those that every method has."""
    for own in method.configured():
        if own.name in Optimizer.model_fields:
            continue
        if own.name == "dither":
            yield dataclasses.replace(own, name=SITE)
        elif own.name == "switch_step":
            option = dataclasses.replace(
                own.option, meaning="Epochs of the sign phase (trigger: fixed).", range=ABOVE_0
            )
            yield dataclasses.replace(own, name=T_SWITCH, option=option)
        elif own.option.parts:
            for (name, meaning), symbol, default in zip(
                own.option.parts, own.option.symbol.split(", "), own.default, strict=True
            ):
                option = dataclasses.replace(own.option, meaning=meaning, symbol=symbol)
                yield dataclasses.replace(own, name=name, kind=float, default=default, option=option)
        else:
            yield own


@functools.cache
def _model(name: str, method: Registered) -> type[Optimizer]:
    fields: dict[str, Any] = {"optimizer": (Literal[name], name)}
    for own in keys(method):
        kind, bounds = own.kind, own.option.range
        if bounds is not None:
            kind = Annotated[kind, Field(ge=bounds.ge, gt=bounds.gt, le=bounds.le, lt=bounds.lt)]
        if own.optional:
            kind = kind | None
        default = ... if own.default is REQUIRED else own.default
        text, symbol = own.option.meaning, own.option.symbol or None
        fields[own.name] = (kind, Field(default, title=symbol, description=text))
    return create_model(name, __base__=Optimizer, __doc__=method.text, **fields)


class _Models(Mapping[str, type[Optimizer]]):
    """Models of the registered methods, each created on first access."""

    def __getitem__(self, name: str) -> type[Optimizer]:
        return _model(name, registry.METHODS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(registry.METHODS)

    def __len__(self) -> int:
        return len(registry.METHODS)


#: name of an optimizer → model of its options, in the order of the reference page
OPTIMIZERS: Mapping[str, type[Optimizer]] = _Models()


def _typed(values: Any) -> Any:
    """Validate values as the model of their optimizer. Pydantic rejects unknown optimizers later."""
    if isinstance(values, dict) and values.get("optimizer") in OPTIMIZERS:
        return OPTIMIZERS[values["optimizer"]].model_validate(values)
    return values


Method = Annotated[SerializeAsAny[Optimizer], BeforeValidator(_typed)]
