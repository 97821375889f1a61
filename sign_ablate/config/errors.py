"""From pydantic's errors to one line each: the key, the value, what is allowed."""

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """A configuration that cannot be used. The message is made for the user, not for a traceback."""


def unknown(key: str, name: str, known: Iterable[str], what: str = "unknown") -> str:
    """A line about a name that is not among the known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{key}: {what}{hint} (known: {', '.join(known)})"


def lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem of `error`, which came from `model`."""
    return [line(detail, model) for detail in error.errors()]


def line(error: ErrorDetails, model: type[BaseModel], prefix: str = "") -> str:
    """The line of one problem, its key below `prefix`."""
    value, kind = error["input"], error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    path, known = _walk(model, error["loc"])
    key = ".".join(filter(None, [prefix, *path]))
    if path and path[-1] == "[key]":
        return f"{key.removesuffix('.[key]')}: a label {_describe(error)}"
    if kind == "extra_forbidden":
        return unknown(key, path[-1], known, "unknown key")
    if kind == "missing":
        return f"{key}: required, but missing"
    if kind.startswith("union_tag"):
        tag = context["discriminator"].strip("'")
        if kind == "union_tag_not_found":
            return f"{key}.{tag}: required, but missing"
        tags = [t.strip(" '") for t in context["expected_tags"].split(",")]
        return unknown(f"{key}.{tag} = {context['tag']!r}", context["tag"], tags)
    if kind == "value_error":
        return f"{key}: {context['error']}"
    what = _describe(error)
    if isinstance(value, str) and kind in {"float_type", "int_type"} and _is_number(value):
        exponent = "e" in value.lower()
        what += " (YAML reads 1e-3 as text: write 1.0e-3)" if exponent else " (it is text: remove its quotes)"
    return f"{key} = {list(value) if isinstance(value, tuple) else value!r}: {what}"


def _describe(error: ErrorDetails) -> str:
    message = re.sub(r"^\w+ should ", "must ", error["msg"]).replace(" after validation", "")
    return message.replace("a valid dictionary", "a mapping of keys")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The user's keys in `loc`, and the names that were allowed in place of the last one.

    pydantic's location has the chosen variant of a discriminated union as a key of its own.
    """
    current: Any = model
    path, known = [], list(model.model_fields)
    for part in loc:
        variant = _variant(current, part)
        if variant is None:
            path.append(str(part))
            known = list(current.model_fields) if _is_model(current) else []
            current = _inside(current, part)
        else:
            current = variant
    return path, known


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, part: int | str) -> Any:
    """The type of what stands at `part`."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return field.annotation if field else None
    arguments = typing.get_args(kind)
    return arguments[-1] if arguments else None


def _variant(kind: Any, tag: int | str) -> Any:
    """The member of a union of models that calls itself `tag`."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) not in {typing.Union, types.UnionType}:
        return None
    for member in typing.get_args(kind):
        if _is_model(member) and any(field.default == tag for field in member.model_fields.values()):
            return member
    return None
