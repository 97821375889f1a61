"""An optimizer under the name by which a configuration selects it, and the options that are left open."""

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from sign_ablate.optim.options.declare import (
    REQUIRED,
    Declared,
    declared,
    inert,
    missing,
    open_needs,
    without_effect,
)

Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """An optimizer that a configuration can name.

    Its options are those of the optimizer and of the compressor that are not fixed and that can have an
    effect with the fixed values.

    Args:
        text: one line for the reference page.
        optimizer: "module:name" of the class, or a function, that takes parameters and options.
        options: the dataclass that declares its options.
        fixed: options with the values that the name stands for.
        defaults: defaults that differ from the optimizer's.
        required: options that must be given although the optimizer has a default.
        compressor: for CompressedSGD, "module:name" of the compressor and the declaration of its options.
    """

    text: str
    optimizer: str
    options: type
    fixed: Values = dataclasses.field(default_factory=dict)
    defaults: Values = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    compressor: tuple[str, type] | None = None

    def declarations(self) -> list[type]:
        """The dataclasses that declare its options."""
        return [self.options] if self.compressor is None else [self.options, self.compressor[1]]

    def configured(self) -> Iterator[Declared]:
        """The options that a configuration may set, with the defaults of this method."""
        for options in self.declarations():
            without = without_effect(options, self.fixed) | set(self.fixed)
            for name, own in declared(options).items():
                if name in without or not own.option.configured:
                    continue
                if name in self.required:
                    yield dataclasses.replace(own, optional=False, default=REQUIRED)
                else:
                    yield dataclasses.replace(own, default=self.defaults.get(name, own.default))

    def open_needs(self, own: Declared) -> list[str]:
        """Reasons for which an option may have no effect under this name."""
        given = {
            name: typing.get_args(option.kind)
            for name, option in declared(self.options).items()
            if name in self.required and typing.get_origin(option.kind) is typing.Literal
        }
        silent = without_effect(self.options, self.fixed)
        defaults = {name: declared(self.options)[name].default for name in silent}
        fixed = {**defaults, **self.fixed, "compressor": self.compressor}
        choices = itertools.product(*given.values())
        return open_needs(own, [fixed | dict(zip(given, chosen, strict=True)) for chosen in choices])

    def problems(self, values: Values) -> Iterator[tuple[str, str]]:
        """Name and problem of each option that is missing or has no effect with these values."""
        for options in self.declarations():
            defaults = {name: own.default for name, own in declared(options).items()}
            chosen = {**defaults, **self.defaults, **self.fixed, **values}
            if self.compressor is not None:
                chosen["compressor"] = self.compressor[0]
            yield from missing(options, chosen)
            yield from inert(options, chosen)
