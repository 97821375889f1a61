"""Constructors whose options are those of a declaration."""

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim.options.declare import Declared, declared, open_needs

_P = ParamSpec("_P")
_Options = TypeVar("_Options")
_Self = TypeVar("_Self")


def takes(
    options: Callable[_P, _Options],
) -> Callable[[Callable[[_Self, ParamsT, _Options], None]], Callable[Concatenate[_Self, ParamsT, _P], None]]:
    """Decorator that gives a constructor ``(self, params, options)`` each option as an argument of its own.

    Type checkers and `inspect.signature` see ``(self, params, lr=…, …)``, with names and defaults of the
    dataclass `options`.
    """

    def decorate(
        init: Callable[[_Self, ParamsT, _Options], None],
    ) -> Callable[Concatenate[_Self, ParamsT, _P], None]:
        signature = _signature(options)

        @functools.wraps(init)
        def construct(*args: Any, **kwargs: Any) -> None:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise TypeError(f"{type(args[0]).__name__}.__init__() {error}") from None
            init(given.pop("self"), given.pop("params"), options(**given))  # type: ignore[call-arg]

        construct.__signature__ = signature  # type: ignore[attr-defined]
        return construct

    return decorate


def _signature(options: Any) -> inspect.Signature:
    fields = declared(options)
    parameters = [
        parameter.replace(annotation=_type(name, fields[name].kind, fields[name].optional))
        for name, parameter in inspect.signature(options).parameters.items()
    ]
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = [
        inspect.Parameter("self", positional),
        inspect.Parameter("params", positional, annotation=ParamsT),
    ]
    return inspect.Signature([*first, *parameters])


def _type(name: str, kind: Any, optional: bool) -> Any:
    kind = kind | Tensor if name == "lr" else kind
    return kind | None if optional else kind


def with_arguments(doc: str, options: Any) -> str:
    """A class's docstring with a section on the constructor's arguments, made from their declaration."""
    lines = ["params: parameters, named parameters, or parameter groups."]
    lines += [_argument(own) for own in declared(options).values()]
    wrap = functools.partial(textwrap.fill, width=100, initial_indent=" " * 8, subsequent_indent=" " * 12)
    arguments = "\n".join(["    Args:", *map(wrap, lines)])
    before, raises, after = doc.partition("    Raises:\n")
    return f"{before}{arguments}\n\n{raises}{after}" if raises else f"{doc.rstrip()}\n\n{arguments}\n    "


def _argument(own: Declared) -> str:
    about = ", ".join(filter(None, [own.option.symbol, str(own.option.range or "")]))
    needs = "; ".join(open_needs(own, [{}]))
    text = f"{own.name}{about and f' ({about})'}: {own.option.meaning}"
    return f"{text} No effect {needs}." if needs else text
