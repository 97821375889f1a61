"""Checks of a parameter group's options against their declaration."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from sign_ablate.optim.options.declare import check, declared, inert, missing

Group = Mapping[str, Any]


def learning_rate(lr: Any) -> Any:
    """Learning rate, a number or a tensor of one element, as a number; 0 if it is on the meta device.

    Raises:
        ValueError: for a tensor of several elements.
    """
    if not isinstance(lr, Tensor):
        return lr
    if lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")  # torch.optim's message
    return 0.0 if lr.device.type == "meta" else lr.item()


def python_value(value: Any) -> Any:
    """Convert a number or string of another type, such as numpy's, to int, float or str; also in a container.

    Other values are returned unchanged. Options end up in the integer arithmetic of the noise, and in state
    dicts that load with `weights_only`.
    """
    if type(value) is dict:
        return python_values(value)
    if type(value) in {tuple, list}:
        return type(value)(map(python_value, value))
    if not isinstance(value, Tensor) and getattr(value, "ndim", 0) == 1:  # a NumPy array
        return tuple(value.tolist())
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def python_values(options: Group) -> dict[str, Any]:
    """Options converted by `python_value`."""
    return {name: python_value(value) for name, value in dict(options).items()}


def group(options: type, values: Group) -> None:
    """Raise ValueError for an option that has the wrong type, is out of range, or needs another one."""
    check(options, {**values, "lr": learning_rate(values["lr"])})
    for name, problem in missing(options, values):
        raise ValueError(f"{name} {problem}")


def same_for_all(values: Group, shared: Group) -> None:
    """Raise ValueError unless a group has the values of the options that all groups share."""
    for name, value in shared.items():
        if values[name] != value:
            raise ValueError(
                f"{name} must be equal in all parameter groups: the optimizer has {value!r}, this group "
                f"{values[name]!r}; give it to the constructor"
            )


def devices(name: str, groups: Sequence[Group]) -> None:
    """Raise ValueError if only some parameters are on the meta device: sums over all would have no value."""
    types = sorted({p.device.type for values in groups for p in values["params"]})
    if "meta" in types and len(types) > 1:
        raise ValueError(
            f"{name} has parameters on devices {', '.join(types)} and computes sums over all of them: create "
            "those on meta first (torch.nn.Module.to_empty)"
        )


def saved(name: str, groups: Sequence[Group], numbers: Sequence[str]) -> None:
    """Raise ValueError for a saved group that has only some of its phase's `numbers`, or no step."""
    for values in groups:
        known = [key for key in numbers if values.get(key) is not None]
        absent = [key for key in (*numbers, "step") if values.get(key) is None]
        if known and absent:
            raise ValueError(
                f"state of {name} has {known[0]!r} but no {', '.join(map(repr, absent))}: "
                "the phase cannot be continued without; load a complete state_dict()"
            )


def effects(options: type, groups: Sequence[Group]) -> None:
    """Raise ValueError for an option without effect in every group that sets it."""
    found = [dict.fromkeys(inert(options, values)) for values in groups]
    for name, problem in dict.fromkeys(problem for problems in found for problem in problems):
        default = declared(options)[name].default
        users = [problems for problems, values in zip(found, groups, strict=True) if values[name] != default]
        if all((name, problem) in problems for problems in users):
            raise ValueError(f"{name} {problem}")
