"""What the constructors reject: each option's type and range, and options that exclude or need each other."""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sign_ablate import rules


class Range(NamedTuple):
    """Which numbers an option may be, in words and as a test."""

    text: str
    holds: Callable[[Any], bool]


AT_LEAST_0 = Range("at least 0", lambda x: x >= 0)
AT_LEAST_1 = Range("at least 1", lambda x: x >= 1)
ABOVE_0 = Range("above 0", lambda x: x > 0)
FRACTION = Range("in [0, 1)", lambda x: 0 <= x < 1)

_CHOICES: dict[str, tuple[Any, ...]] = {
    "momentum_form": ("ema", "heavy_ball"),
    "momentum_dtype": (None, "bfloat16"),
    "sign_of_zero": ("zero", "plus", "random"),
    "dither": (None, "pre", "post"),
    "law": ("gaussian", "uniform", "subtractive"),
    "scale": ("absolute", "global_rms", "tensor_rms"),
    "k_unit": ("step", "epoch"),
    "lambda_rule": ("paper", "swats"),
    "lambda_scope": ("global", "group", "tensor"),
    "lambda_step": ("clean", "applied"),
    "lambda_momentum": ("updated", "previous"),
    "lambda_schedule": ("relative", "frozen"),
    "sgd_momentum": ("none", "swats"),
    "trigger": ("fixed", "stable", "swats", "plateau"),
}
_NUMBERS = {
    "beta": FRACTION, "weight_decay": AT_LEAST_0, "loss_scale": ABOVE_0, "alpha": AT_LEAST_0,
    "gamma": AT_LEAST_0, "eta": FRACTION, "eps": AT_LEAST_0, "tolerance": ABOVE_0, "sgd_lr": ABOVE_0,
}  # fmt: skip
_INTEGERS = {"seed": None, "switch_step": AT_LEAST_0, "patience": ABOVE_0, "steps_per_epoch": ABOVE_0}
_FLAGS = (
    "decoupled", "stochastic_rounding", "maximize", "foreach", "fused", "differentiable", "capturable",
    "bias_correction", "calibrate",
)  # fmt: skip
_MAY_BE_NONE = ("tolerance", "sgd_lr", "switch_step", "patience", "steps_per_epoch", "foreach", "fused")


def number(name: str, value: Any, allowed: Range) -> None:
    """Raise ValueError unless `value` is a finite number in the range, and no bool."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, {allowed.text}, got {value!r}")
    if not allowed.holds(value):
        raise ValueError(f"{name} must be {allowed.text}, got {value!r}")


def integer(name: str, value: Any, allowed: Range | None = None) -> None:
    """Raise ValueError unless `value` is an integer in the range, and no bool."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        text = f", {allowed.text}" if allowed else ""
        raise ValueError(f"{name} must be an integer{text}, got {value!r}")
    if allowed and not allowed.holds(value):
        raise ValueError(f"{name} must be {allowed.text}, got {value!r}")


def python_number(value: Any) -> Any:
    """A number of another type, numpy's for one, as Python's int or float; anything else as it is.

    Options end up in the integer arithmetic of the noise, and in state dicts that load with `weights_only`.
    """
    if type(value) is tuple:
        return tuple(map(python_number, value))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def python_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, their numbers by `python_number`."""
    return {name: python_number(value) for name, value in dict(options).items()}


def flag(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def learning_rate(lr: Any) -> float | None:
    """Raise ValueError unless lr is a finite number of at least 0, or a tensor of one such element.

    Returns the number; None for a tensor on the meta device.
    """
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")  # torch.optim's words
        if lr.device.type == "meta":
            return None
        lr = lr.item()
    number("lr", lr, AT_LEAST_0)
    return float(lr)


def betas(value: Any) -> None:
    """Raise ValueError unless both decay rates are numbers in [0, 1)."""
    try:
        for beta in value:
            number("betas", beta, FRACTION)
        if len(value) == 2:
            return
    except (TypeError, ValueError):
        pass
    raise ValueError(f"betas must be two numbers in [0, 1), got {value!r}")


def group(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of SignSGD or HybridSignSGD that is out of range or lacks another."""
    lr = learning_rate(options["lr"])
    given = {name: x for name, x in options.items() if x is not None or name not in _MAY_BE_NONE}
    for name, value in given.items():
        if name in _CHOICES:
            choice(name, value, _CHOICES[name])
        elif name in _NUMBERS:
            number(name, value, _NUMBERS[name])
        elif name in _INTEGERS:
            integer(name, value, _INTEGERS[name])
        elif name in _FLAGS:
            flag(name, value)
    for problem in rules.missing(options):
        raise ValueError(problem)
    if options["fused"]:
        for other in ("foreach", "differentiable", "capturable"):
            if options[other]:
                raise ValueError(f"fused and {other} cannot both be True")
    if options["foreach"] and options["differentiable"]:
        raise ValueError("foreach and differentiable cannot both be True")
    if "sgd_lr" in given and lr == 0:
        raise ValueError(
            f"sgd_lr = {options['sgd_lr']} follows the schedule of lr, which must be above 0, got lr = 0 "
            "(sgd_lr None reuses lr)"
        )
    if options["momentum_dtype"] and any(
        p.dtype in (torch.float16, torch.bfloat16) for p in options["params"]
    ):
        raise ValueError("momentum_dtype 'bfloat16' is for float32 and float64 parameters")


def same_for_all(options: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Raise ValueError unless a group has the values of the options that all groups share."""
    for name, value in shared.items():
        if options[name] != value:
            raise ValueError(
                f"{name} is the optimizer's and {value!r}, not one of a group, which has {options[name]!r}: "
                "give it to the constructor"
            )


def effects(groups: list[dict[str, Any]]) -> None:
    """Raise ValueError for an option that has no effect in any group."""
    found = [list(rules.inert(options)) for options in groups]
    for problem in found[0]:
        if all(problem in others for others in found):
            raise ValueError(problem)
    for options in groups:
        if options["stochastic_rounding"] and all(p.dtype != torch.bfloat16 for p in options["params"]):
            raise ValueError("stochastic_rounding has no effect without bfloat16 parameters")
