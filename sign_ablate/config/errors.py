"""Conversion of pydantic's errors to one line each, with the key, the value, and what is allowed."""

import datetime
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails

from sign_ablate.config.base import NAME_PATTERN


class ConfigError(ValueError):
    """Raised for an invalid configuration. The message is for the user, without a traceback."""


class OptionError(ValueError):
    """Raised by a model for a key whose value does not fit the other values.

    Args:
        key: the key.
        value: its value.
        problem: completes the message "<key> = <value>: …".
    """

    def __init__(self, key: str, value: Any, problem: str) -> None:
        super().__init__(f"{key} = {shown(value)}: {problem}")
        self.key = key


#: maximum length of a value or key in a message
SHOWN_CHARS = 60


def shown(value: Any) -> str:
    """Format a value on one line, much as the user wrote it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value) if isinstance(value, datetime.date) else repr(_lists(value))
    return _short(text)


def _lists(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def unknown(key: str, name: str, known: Iterable[str], what: str = "unknown") -> str:
    """Error line for a name that is not among the known ones."""
    known = sorted(known)
    return f"{key}: {what}{_did_you_mean(name, known)} (known: {', '.join(known) or 'none'})"


def _did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggestion of the closest known name, ignoring case; empty if none is close."""
    folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=cutoff)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Format each problem of `error`, which `model` raised, as one line."""
    return [line(detail, model) for detail in error.errors()]


def line(error: ErrorDetails, kind: Any, prefix: str = "") -> str:
    """Format one problem as a line.

    Args:
        error: the problem.
        kind: type that was validated: a model, or a mapping of models.
        prefix: prefix of the key.
    """
    value, problem = error["input"], error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    path, known = _walk(kind, error["loc"])
    label = bool(path) and path[-1] == "[key]"
    key = ".".join(filter(None, [prefix, *(path[:-1] if label else path)]))
    if label:
        return f"{key}: a label {describe(error)}"
    if problem == "extra_forbidden":
        return unknown(key, path[-1], known, "unknown key")
    if problem == "missing":
        return f"{key}: required, but missing"
    if problem.startswith("union_tag"):
        tag = context["discriminator"].strip("'")
        if value.get(tag) is None:
            return f"{key}.{tag}: required, but missing (known: {', '.join(known)})"
        return unknown(f"{key}.{tag} = {shown(value[tag])}", str(value[tag]), known)
    if problem == "value_error" and isinstance(context["error"], OptionError):
        return ".".join(filter(None, [key, str(context["error"])]))
    if problem == "value_error" and isinstance(value, dict):
        return f"{key}: {context['error']}"
    what = describe(error)
    if value is None:
        return f"{key}: has no value; it {what}"
    if isinstance(value, list) and path[:1] == ["datasets"]:
        what += " (an axis cannot be here; give each value a data set of its own)"
    return f"{key} = {shown(value)}: {what}".removeprefix(" = ")


#: pydantic's error type → text for the user
_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of keys",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "model_attributes_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "string_type": "must be text",
}


def describe(error: ErrorDetails) -> str:
    """Describe what the value must be, and how to write it."""
    value, kind = error["input"], error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "tuple_type":
        return f"must be a list; write [{value if _are_numbers(value) else '0, 1, 2'}]"
    if kind == "too_short":
        return "must have at least one entry"
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries"
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        return "must begin with a letter or digit (ASCII), and have only these, _, + and -"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    what = _WORDS.get(kind) or re.sub(r"^\w+ should ", "must ", error["msg"])
    if kind == "literal_error" and isinstance(value, str):
        # A lower cutoff would suggest cpu for gpu.
        what += _did_you_mean(value, re.findall("'(.*?)'", context["expected"]), cutoff=0.75)
    if kind == "string_type" and value is not None and not isinstance(value, list | dict):
        what += "; put it in quotes"
    if isinstance(value, str) and kind in {"float_type", "int_type"}:
        if _is_number(value):
            what += " (it is text: remove its quotes)"
        elif _is_number(value.replace(",", ".", 1)):
            what += f" (write {value.replace(',', '.', 1)})"
    return what


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _are_numbers(value: Any) -> bool:
    """Return True for a number, and for text such as "0, 1, 2"."""
    return isinstance(value, int | float | str) and all(map(_is_number, str(value).split(",")))


def _walk(kind: Any, loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """Return the user's keys in `loc`, and the names allowed in place of the last one.

    pydantic's location contains the chosen variant of a discriminated union as a key of its own. If the
    variant itself is the problem, the allowed names are those of the variants.
    """
    current = kind
    path, known = [], keys_of(kind) if _is_model(kind) else []
    for part in loc:
        variants = _variants(current)
        text = str(part)
        if text in variants:
            current = variants[text]
        else:
            path.append(_short(text if text and text.isprintable() else repr(text)))
            known = keys_of(current) if _is_model(current) else []
            current = _inside(current, part)
    return path, sorted(_variants(current)) or known


def keys_of(model: type[BaseModel]) -> list[str]:
    """Keys of a model that a user may write."""
    hidden = SkipJsonSchema()
    return [name for name, field in model.model_fields.items() if hidden not in field.metadata]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, part: int | str) -> Any:
    """Type of the value at key or index `part` of the type `kind`."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return _unless_none(field.annotation) if field else None
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else None


def _unless_none(kind: Any) -> Any:
    """The type X of X | None. Other types as they are."""
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    optional = typing.get_origin(kind) in {typing.Union, types.UnionType} and len(parts) == 1
    return parts[0] if optional else kind


def _variants(kind: Any) -> dict[str, type[BaseModel]]:
    """Members of a union of models by their discriminators; empty for other types."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) not in {typing.Union, types.UnionType}:
        return {}
    return {
        field.default: member
        for member in filter(_is_model, typing.get_args(kind))
        for field in member.model_fields.values()
        if typing.get_args(field.annotation) == (field.default,)
    }
