"""Generator of the configuration's JSON schema and reference page."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sign_ablate.config.base import LARGEST, SMALLEST, Model
from sign_ablate.config.campaign import Campaign, Execution, Figure
from sign_ablate.config.data import DatasetSpec
from sign_ablate.config.methods import OPTIMIZERS
from sign_ablate.config.train import Train


def schema_text() -> str:
    """The JSON schema (2020-12) of a configuration file, for editors."""
    schema = Campaign.model_json_schema()
    definitions = schema["$defs"]
    train = _with_axes(Train.model_json_schema())["properties"]
    variants = []
    for name, model in OPTIMIZERS.items():
        own = _with_axes(model.model_json_schema())
        # A method must have `optimizer` and its required options, and may have training keys.
        properties = {**train, **own["properties"], "optimizer": {"const": name}}
        definitions[model.__name__] = {
            "description": model.__doc__,
            "type": "object",
            "properties": properties,
            "required": ["optimizer", *own.get("required", [])],
            "additionalProperties": False,
        }
        variants.append({"$ref": f"#/$defs/{model.__name__}"})
    definitions["Train"] = {"type": "object", "properties": train, "additionalProperties": False}
    schema["properties"]["methods"]["additionalProperties"] = {"anyOf": variants}
    schema["properties"]["train"] = {**schema["properties"]["train"], "$ref": "#/$defs/Train"}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _with_axes(schema: dict[str, Any]) -> dict[str, Any]:
    """Copy of a schema in which every property may also be a list of its values."""
    schema = json.loads(json.dumps(schema))
    for name, prop in schema["properties"].items():
        outer = {key: prop.pop(key) for key in ("description", "title", "default") if key in prop}
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
        parts += [f"### `{name}`", model.__doc__ or "", _table(model, skip="optimizer")]
    parts += ["## `datasets.<label>`: `source` and its options"]
    for dataset in get_args(get_args(DatasetSpec)[0]):
        name = dataset.model_fields["source"].default
        parts += [f"### `{name}`", dataset.__doc__ or "", _table(dataset, skip="source")]
    parts += [
        "## `figures.<label>`",
        _table(Figure),
        "## `execution`",
        Execution.__doc__ or "",
        _table(Execution),
    ]
    return "\n\n".join(parts) + "\n"


def _table(model: type[Model], skip: str = "") -> str:
    properties = model.model_json_schema()["properties"]
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if name != skip:
            kind = ", ".join(_kinds(properties[name]))
            rows.append(f"| `{name}` | {kind} | {_default(field)} | {field.description} |")
    return "\n".join(rows)


def _kinds(prop: dict[str, Any]) -> Iterator[str]:
    """Yield the types of a property with their bounds, in words."""
    for option in prop.get("anyOf", [prop]):
        if option.get("type") == "null":
            continue
        if "enum" in option:
            yield " \\| ".join(f"`{value}`" for value in option["enum"])
            continue
        names = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        bounds = [f"{sign} {option[key]:g}" for key, sign in names.items() if key in option]
        kind = {"array": "list", "object": "mapping"}.get(
            option.get("type", ""), option.get("type", "mapping")
        )
        yield " ".join([kind, *bounds])


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "unset"
    if isinstance(field.default, Model):
        return "see below"
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(default)}`"
