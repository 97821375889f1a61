"""Declaration of options by `Option`, `Range` and `Need`, and the checks that follow from it."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal

Values = Mapping[str, Any]
#: the default of an option that must be given
REQUIRED: Any = dataclasses.MISSING
_ANY: Any = object()


@dataclasses.dataclass(frozen=True)
class Range:
    """Interval of the numbers that an option accepts.

    >>> str(Range(ge=0, lt=1)), 1.0 in Range(ge=0, lt=1)
    ('in [0, 1)', False)
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __contains__(self, x: Any) -> bool:
        return (
            (self.ge is None or x >= self.ge)
            and (self.gt is None or x > self.gt)
            and (self.le is None or x <= self.le)
            and (self.lt is None or x < self.lt)
        )

    def __str__(self) -> str:
        low = "at least" if self.gt is None else "above"
        start, end = (self.ge if self.gt is None else self.gt), (self.le if self.lt is None else self.lt)
        if end is None:
            return f"{low} {start:.9g}"
        left, right = ("[" if self.gt is None else "("), ("]" if self.lt is None else ")")
        return f"in {left}{start:.9g}, {end:.9g}{right}"


AT_LEAST_0, AT_LEAST_1, ABOVE_0 = Range(ge=0), Range(ge=1), Range(gt=0)
FRACTION = Range(ge=0, lt=1)


@dataclasses.dataclass(frozen=True)
class Need:
    """A condition on the other options, without which an option has no effect.

    Args:
        reason: completes "<option> has no effect …", or "<option> <value> needs …" where a value is given.
        holds: the condition. It reads the other options with `o["name"]`.
        value: the value of the option that has this need; if not given, every value but the default.
    """

    reason: str
    holds: Callable[[Values], bool]
    value: Any = _ANY


@dataclasses.dataclass(frozen=True, repr=False)
class Option:
    """Metadata of an option, given in the annotation along with its type.

    Args:
        meaning: one line for the reference page and the docstring.
        range: the range of allowed numbers.
        symbol: symbol in the paper.
        needs: conditions without which the option has no effect.
        asked_by: name of the option whose value makes this option effective and required.
        parts: names and meanings of the two numbers of a pair, which are two keys in a configuration.
        shared: True if all parameter groups have the same value.
        configured: False if the option is no key of a configuration, because the run sets it or because it
            changes no number.
    """

    meaning: str
    range: Range | None = None
    symbol: str = ""
    needs: tuple[Need, ...] = ()
    asked_by: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    shared: bool = False
    configured: bool = True

    def __repr__(self) -> str:
        return repr(self.meaning)  # short, since signatures show it


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option with its name, type and default."""

    name: str
    kind: Any  #: float, int, bool, a Literal, tuple[float, float], or Any for what is checked elsewhere
    optional: bool  #: may be None
    default: Any
    option: Option

    def check(self, value: Any) -> None:
        """Raise ValueError, in one line, for a value of the wrong type or out of range."""
        if self.kind is Any or (value is None and self.optional):
            return
        if typing.get_origin(self.kind) is Literal:
            choices = (*([None] if self.optional else []), *typing.get_args(self.kind))
            if value not in choices:
                raise ValueError(f"{self.name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
        elif self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(f"{self.name} must be True or False, got {value!r}")
        elif typing.get_origin(self.kind) is tuple:
            self._check_pair(value)
        else:
            self._check_number(value)

    def _check_number(self, value: Any) -> None:
        allowed = f"{'None or ' if self.optional else ''}{self.option.range or ''}"
        whole = self.kind is int
        good = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not good or not math.isfinite(value):
            noun = "an integer" if whole else "a finite number"
            raise ValueError(f"{self.name} must be {noun}{allowed and f', {allowed}'}, got {value!r}")
        if self.option.range is not None and value not in self.option.range:
            raise ValueError(f"{self.name} must be {allowed}, got {value!r}")

    def _check_pair(self, value: Any) -> None:
        one = dataclasses.replace(self, kind=float)
        try:
            for x in value:
                one._check_number(x)
            if isinstance(value, Sequence) and len(value) == len(self.option.parts):
                return
        except (TypeError, ValueError):
            pass
        raise ValueError(f"{self.name} must be two numbers {self.option.range}, got {value!r}")


@functools.cache
def declared(options: type) -> dict[str, Declared]:
    """The options that a dataclass declares, by name."""
    hints = typing.get_type_hints(options, include_extras=True)
    found = {}
    for field in dataclasses.fields(options):
        kind, option = typing.get_args(hints[field.name])
        optional = typing.get_origin(kind) in {typing.Union, types.UnionType}
        if optional:
            (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
        found[field.name] = Declared(field.name, kind, optional, field.default, option)
    return found


def check(options: type, values: Values) -> None:
    """Raise ValueError for the first value that is of the wrong type or out of range."""
    for name, option in declared(options).items():
        option.check(values[name])


def missing(options: type, values: Values) -> Iterator[tuple[str, str]]:
    """Name and problem of each option whose value requires another option that is not set."""
    for name, own in declared(options).items():
        asking = own.option.asked_by
        if asking and name in values and values[name] is None and _effective(own, values):
            yield asking, f"{values[asking]!r} needs {name}"


def inert(options: type, values: Values) -> Iterator[tuple[str, str]]:
    """Name and problem of each option that differs from its default but has no effect."""
    for name, own in declared(options).items():
        if not own.option.needs or name not in values or values[name] == own.default:
            continue
        for need in own.option.needs:
            if need.value is _ANY and not need.holds(values):
                yield name, f"has no effect {need.reason}"
            elif need.value is not _ANY and values[name] == need.value and not need.holds(values):
                yield name, f"{need.value!r} needs {need.reason}"


def without_effect(options: type, fixed: Values) -> set[str]:
    """Names of the options that have no effect for any values of the options that are not fixed.

    A need counts only if the fixed options decide it. An option without effect keeps its default, and the
    needs of other options may then be decided, too.
    """
    known = dict(fixed)
    while True:
        names = {
            name for name, own in declared(options).items() if name not in known and not _possible(own, known)
        }
        if not names:
            return set(known) - set(fixed)
        known |= {name: declared(options)[name].default for name in names}


def _effective(own: Declared, values: Values) -> bool:
    return all(need.holds(values) for need in own.option.needs if need.value is _ANY)


def _possible(own: Declared, known: Values) -> bool:
    """Return False if a need cannot be met."""
    return all(_met(need, known) is not False for need in own.option.needs if need.value is _ANY)


def _met(need: Need, known: Values) -> bool | None:
    """Return True if a need is met, False if not, and None if that depends on an option that is not known."""
    try:
        return need.holds(known)
    except KeyError:
        return None


def open_needs(own: Declared, known: Sequence[Values]) -> list[str]:
    """Reasons for which an option may have no effect when the others have one of the known sets of values."""
    return [
        need.reason if need.value is _ANY else f"{need.value}: without {need.reason.split(':')[0]}"
        for need in own.option.needs
        if not all(_met(need, values) for values in known)
    ]
