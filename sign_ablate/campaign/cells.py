"""Cells of a campaign: its methods, expanded over their axes."""

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from sign_ablate.campaign.spaces import space_problems
from sign_ablate.campaign.template import Template, label_of
from sign_ablate.config.campaign import Campaign
from sign_ablate.config.errors import ConfigError, shown, unknown
from sign_ablate.config.methods import OPTIMIZERS, Optimizer
from sign_ablate.config.train import Train

#: key of a method that takes the tuned values of another cell
TUNED_AS = "tuned_as"


def templates(campaign: Campaign) -> list[Template]:
    """Return the cells of a campaign in its order. Raises ConfigError with a line for each problem."""
    problems: list[str] = []
    found: list[Template] = []
    for label, values in campaign.methods.items():
        try:
            found += _of_method(label, values, campaign)
        except ConfigError as error:
            problems += str(error).splitlines()
    if not problems:
        found, problems = _with_spaces(found)
    if campaign.tuning is not None:
        problems += [
            unknown(f"tuning.spaces.{label}", label, campaign.methods)
            for label in campaign.tuning.spaces
            if label not in campaign.methods
        ]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return found


def _of_method(label: str, values: dict[str, Any], campaign: Campaign) -> Iterator[Template]:
    where, shared = f"methods.{label}", campaign.train
    values = dict(values)
    name, other = values.pop("optimizer", None), values.pop(TUNED_AS, None)
    if name is None:
        raise ConfigError(
            f"{where}.optimizer: required, but missing (known: {', '.join(sorted(OPTIMIZERS))})"
        )
    if isinstance(name, list):
        raise ConfigError(
            f"{where}.optimizer = {shown(name)}: optimizers cannot be an axis; give each a method of its own"
        )
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ConfigError(unknown(f"{where}.optimizer = {shown(name)}", str(name), OPTIMIZERS))
    model = OPTIMIZERS[name]
    space = campaign.tuning.spaces.get(label, {}) if campaign.tuning else {}
    if isinstance(other, str) and other.split(" ")[0] == label:
        raise ConfigError(
            f"{where}.{TUNED_AS} = {shown(other)}: a cell of the method itself; name one of another "
            f"method (for values of its own: tuning.spaces.{label}, without {TUNED_AS})"
        )
    _reject_unknown(where, name, model, values, shared)
    if problems := list(space_problems(label, model, space, values)):
        raise ConfigError("\n".join(problems))
    if other is not None and (space or not isinstance(other, str)):
        problem = f"tuning.spaces.{label} exists, too; remove one" if space else "must be the label of a cell"
        raise ConfigError(f"{where}.{TUNED_AS} = {shown(other)}: {problem}")
    merged = merged_options(shared, values)
    points = {
        key: _points(key, value, where if key in values else "train", model) for key, value in merged.items()
    }
    axes = [key for key, value in merged.items() if _is_axis(key, value, model)]
    for combination in itertools.product(*points.values()):
        chosen = dict(zip(points, combination, strict=True))
        picked = tuple((key, chosen[key]) for key in axes)
        # a campaign in campaign.json has its choices, but not its search spaces
        known = any(label_of(label, picked) in cells for cells in campaign.tuned.values())
        itself = label_of(label, picked) if space or known else None
        yield Template(
            label, picked, model,
            {k: v for k, v in chosen.items() if k in values},
            {k: v for k, v in chosen.items() if k not in values},
            itself if other is None else other, space,
        )  # fmt: skip


def merged_options(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method: its own, and those of `train`.

    Epochs and steps are mutually exclusive: the method's own choice replaces the shared one.
    """
    merged = {**shared, **own}
    for given, rival in (("epochs", "steps"), ("steps", "epochs")):
        if given in own and rival not in own:
            merged.pop(rival, None)
    return merged


def _with_spaces(found: list[Template]) -> tuple[list[Template], list[str]]:
    """Give cells with `tuned_as` the search space of the cell that they refer to, and check all options."""
    sources = {template.label: template for template in found if template.is_tuned}
    complete, problems = [], []
    for template in found:
        if template.tuned_as is not None and template.tuned_as not in sources:
            key = f"methods.{template.method}.{TUNED_AS} = {shown(template.tuned_as)}"
            problems.append(unknown(key, template.tuned_as, sources, "no tuned cell"))
            continue
        space = sources[template.tuned_as].space if template.tuned_as else {}
        complete.append(dataclasses.replace(template, space=space))
        twice = [key for key in space if key in template.own]
        problems += [
            f"methods.{template.method}.{key} = {shown(template.own[key])}: {TUNED_AS} takes it from "
            f"{template.tuned_as!r}; remove one"
            for key in twice
        ]
        unused = [key for key in space if key not in {**template.model.model_fields, **Train.model_fields}]
        problems += [
            f"methods.{template.method}.{TUNED_AS} = {shown(template.tuned_as)}: its {key} is tuned, which "
            f"optimizer {template.optimizer} does not take; name a cell that is tuned without {key}"
            for key in unused
        ]
        if twice or unused:
            continue
        try:
            if space:
                complete[-1].options(complete[-1].placeholder())
            elif template.tuned_as is None:
                _ = complete[-1].untuned
        except ConfigError as error:
            problems += str(error).splitlines()
    return complete, problems


def _reject_unknown(
    where: str, name: str, model: type[Optimizer], values: dict[str, Any], shared: dict[str, Any]
) -> None:
    problems = []
    for key, value in values.items():
        if key in model.model_fields or key in Train.model_fields:
            continue
        takers = [other for other, options in OPTIMIZERS.items() if key in options.model_fields]
        known = sorted(({*model.model_fields} | {*Train.model_fields}) - {"optimizer"})
        if takers:
            problems.append(
                f"{where}.{key} = {shown(value)}: does not apply to optimizer {name} "
                f"(only to {', '.join(takers)}; {name} takes {', '.join(known)})"
            )
        else:
            problems.append(unknown(f"{where}.{key}", key, known, "unknown key"))
    for key in shared:
        if any(key in options.model_fields for options in OPTIMIZERS.values()):
            problems.append(f"train.{key}: belongs to a method; write it in each one that it is for")
        elif key not in Train.model_fields:
            problems.append(unknown(f"train.{key}", key, Train.model_fields, "unknown key"))
    if problems:
        raise ConfigError("\n".join(problems))


def _is_axis(key: str, value: Any, model: type[Optimizer]) -> bool:
    if not isinstance(value, list):
        return False
    field = model.model_fields.get(key) or Train.model_fields[key]
    takes_list = typing.get_origin(field.annotation) is tuple
    return not takes_list or any(isinstance(item, list) for item in value)


def _points(key: str, value: Any, where: str, model: type[Optimizer]) -> list[Any]:
    if not _is_axis(key, value, model):
        return [value]
    if not value:
        raise ConfigError(f"{where}.{key} = []: an empty axis leaves no run; give at least one value")
    if any(point in value[:index] for index, point in enumerate(value)):
        raise ConfigError(f"{where}.{key} = {shown(value)}: a value is given twice; remove one")
    return list(value)
