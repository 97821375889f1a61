"""From pydantic's errors to one line each: the key, the value, what is allowed."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """A configuration that cannot be used. The message is made for the user, not for a traceback."""


def unknown(key: str, name: str, known: Iterable[str], what: str = "unknown") -> str:
    """A line about a name that is not among the known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{key}: {what}{hint} (known: {', '.join(known)})"


def lines(error: ValidationError, prefix: str = "", known: Iterable[str] = ()) -> list[str]:
    """One line per problem of `error`, its keys below `prefix`."""
    return [_line(detail, prefix, known) for detail in error.errors()]


def _line(error: ErrorDetails, prefix: str, known: Iterable[str]) -> str:
    value, kind = error["input"], error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    # A discriminated union puts the chosen variant's tag behind the field: no key of the user's.
    path = [str(part) for i, part in enumerate(error["loc"]) if not _is_tag(error["loc"], i)]
    key = ".".join(filter(None, [prefix, *path]))
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
        return f"{key}: {context['error']}" if key else str(context["error"])
    what = _describe(error)
    if isinstance(value, str) and kind in {"float_type", "int_type"} and _is_number(value):
        what += " (YAML reads 1e-3 as text: write 1.0e-3)"
    return f"{key} = {value!r}: {what}"


def _describe(error: ErrorDetails) -> str:
    return error["msg"].replace("Input should be ", "must be ").replace("String should ", "must ")


def _is_tag(loc: tuple[int | str, ...], index: int) -> bool:
    return index == 2 and loc[0] == "datasets"  # datasets.<label>.<tag>.<key>


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
