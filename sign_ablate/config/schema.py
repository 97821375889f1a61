"""Generator of the configuration's JSON schema and reference page."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sign_ablate.config.base import LARGEST, SMALLEST, Model
from sign_ablate.config.campaign import Campaign, Execution, Figure
from sign_ablate.config.data import DatasetSpec
from sign_ablate.config.methods import OPTIMIZERS, keys
from sign_ablate.config.train import Train
from sign_ablate.config.tuning import Tuning
from sign_ablate.optim.registry import METHODS

LINE_CHARS = 100


def schema_text() -> str:
    """JSON schema (2020-12) of a configuration file, for editors.

    A key that several methods have is defined once, in `$defs`, and the methods refer to it.
    """
    schema = Campaign.model_json_schema()
    definitions = schema["$defs"]
    shared: dict[str, Any] = {}
    train = _references("train", _with_axes(Train.model_json_schema()), shared)
    variants = []
    for name, model in OPTIMIZERS.items():
        own = _with_axes(model.model_json_schema())
        properties = _references(name, own, shared) | {"optimizer": {"const": name}}
        # A method must have `optimizer` and its required options, except for numbers: `tuning` can find them.
        # It may have training keys.
        variants.append(
            {
                "description": model.__doc__,
                "type": "object",
                "properties": {**properties, **train, "tuned_as": {"type": "string", "minLength": 1}},
                "required": ["optimizer", *_required(own)],
                "additionalProperties": False,
            }
        )
    definitions["train"] = {"type": "object", "properties": train, "additionalProperties": False}
    definitions |= shared
    schema["properties"]["methods"]["additionalProperties"] = {"anyOf": variants}
    schema["properties"]["train"] = {**schema["properties"]["train"], "$ref": "#/$defs/train"}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return _compact(json.dumps(schema, indent=1, ensure_ascii=False)) + "\n"


def _required(schema: dict[str, Any]) -> list[str]:
    """Required keys of a method's schema that are not numbers."""
    kinds = {name: prop["anyOf"][0].get("type") for name, prop in schema["properties"].items()}
    return [key for key in schema.get("required", []) if key != "optimizer" and kinds[key] != "number"]


def _compact(text: str) -> str:
    """Put the innermost objects and lists of JSON on one line each, if they fit."""

    def one_line(match: re.Match[str]) -> str:
        line = re.sub(r"\n *", " ", match[0])
        return line[0] + line[2:-2] + line[-1] if len(line) <= LINE_CHARS else match[0]

    return re.sub(r"[\[{]\n[^\[\]{}]*\n *[\]}]", one_line, text)


def _references(owner: str, schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """References to the properties of a schema. Each is added to `shared` unless an equal one is there."""
    found = {}
    for name, prop in schema["properties"].items():
        place = next(key for key in (name, f"{owner}.{name}") if shared.setdefault(key, prop) == prop)
        found[name] = {"$ref": f"#/$defs/{place}"}
    return found


def _with_axes(schema: dict[str, Any]) -> dict[str, Any]:
    """Copy of a schema in which every property may also be a list of its values."""
    schema = json.loads(json.dumps(schema))
    for name, prop in schema["properties"].items():
        outer = {key: prop.pop(key) for key in ("description", "default") if key in prop}
        prop.pop("title", None)
        axis = {"type": "array", "items": prop, "minItems": 1}
        schema["properties"][name] = {**outer, "anyOf": [prop, axis]}
    return schema


def page_text() -> str:
    """Text of docs/config.md."""
    parts = [
        "# Configuration reference",
        "Generated from `sign_ablate/config` by `sign-ablate schema`; `make check` fails if it is out of "
        "date. Unknown keys are errors. Under `train` and in a method, **a list in place of a value is "
        "an axis of the grid**. The file is YAML 1.2: `1e-3` is a number, and `yes` is text. A number other "
        f"than 0 lies between {SMALLEST:g} and {LARGEST:g} in magnitude.",
        "## Top level",
        _table(Campaign),
        "## `train`, and any method",
        _table(Train),
        "## `methods.<label>`: `optimizer` and its options",
        "A label becomes part of paths: letters, digits, `_`, `+` and `-`.",
    ]
    for name, model in OPTIMIZERS.items():
        parts += [f"### `{name}`", model.__doc__ or "", _method_table(name)]
    parts += ["## `datasets.<label>`: `source` and its options"]
    for dataset in get_args(get_args(DatasetSpec)[0]):
        name = dataset.model_fields["source"].default
        parts += [f"### `{name}`", dataset.__doc__ or "", _table(dataset, skip="source")]
    parts += [
        "## `tuning`",
        "Before the evaluation, `snakemake tune` trains the trials of each cell with a search space and "
        "writes the best of them to tuned.json. `tuned_as: <cell>` in a method takes the values of another.",
        _table(Tuning),
        "## `figures.<label>`",
        _table(Figure),
        "## `execution`",
        Execution.__doc__ or "",
        _table(Execution),
    ]
    return "\n\n".join(parts) + "\n"


def _method_table(name: str) -> str:
    """Table of a method's keys, with symbols and the conditions under which an option has no effect."""
    method, model = METHODS[name], OPTIMIZERS[name]
    needs = {own.name: "; ".join(method.open_needs(own)) for own in keys(method)}
    symbols = {own.name: own.option.symbol for own in keys(method)} | {"lr": "δ"}
    return _markdown(
        ("key", "symbol", "type", "default", "meaning", "no effect"),
        [
            (row[0], symbols.get(key, ""), *row[1:], needs.get(key, ""))
            for key, row in _rows(model).items()
            if key != "optimizer"
        ],
    )


def _table(model: type[Model], skip: str = "") -> str:
    rows = [row for name, row in _rows(model).items() if name != skip]
    return _markdown(("key", "type", "default", "meaning"), rows)


def _rows(model: type[Model]) -> dict[str, tuple[str, ...]]:
    """Table row of each key: key, type, default and meaning."""
    properties = model.model_json_schema()["properties"]
    return {
        name: (f"`{name}`", ", ".join(_kinds(properties[name])), _default(field), field.description or "")
        for name, field in model.model_fields.items()
        if name in properties
    }


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _kinds(prop: dict[str, Any]) -> Iterator[str]:
    """Yield the types of a property with their bounds, in words."""
    for option in prop.get("anyOf", [prop]):
        if option.get("type") == "null":
            continue
        if "enum" in option:
            yield " | ".join(f"`{value}`" for value in option["enum"])
            continue
        if "const" in option:
            yield f"`{option['const']}`"
            continue
        names = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        bounds = ", ".join(f"{sign} {_number(option[key])}" for key, sign in names.items() if key in option)
        kind = {"array": "list", "object": "mapping"}.get(
            option.get("type", ""), option.get("type", "mapping")
        )
        yield f"{kind} {bounds}".strip()


def _number(bound: float) -> str:
    """A bound, exact if it is a whole number."""
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "unset"
    if isinstance(field.default, Model):
        return "see below"
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(default)}`"
