"""What the constructors reject."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sign_ablate import rules

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
_AT_LEAST_0 = ("weight_decay", "alpha", "gamma", "eps", "switch_step")
_FRACTION = ("beta", "eta")
_ABOVE_0 = ("loss_scale", "tolerance", "patience", "sgd_lr", "steps_per_epoch")


def group(options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option out of range."""
    lr = options["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not (isinstance(lr, Tensor) and lr.device.type == "meta") and not lr >= 0:
        raise ValueError(f"lr must be at least 0, got {lr}")
    for name, choices in _CHOICES.items():
        if name in options and options[name] not in choices:
            known = ", ".join(map(repr, choices))
            raise ValueError(f"{name} must be one of {known}; got {options[name]!r}")
    for names, text, allowed in (
        (_AT_LEAST_0, "at least 0", lambda x: x >= 0),
        (_FRACTION, "in [0, 1)", lambda x: 0 <= x < 1),
        (_ABOVE_0, "above 0", lambda x: x > 0),
    ):
        for name in names:
            value = options.get(name)
            if value is not None and not allowed(value):
                raise ValueError(f"{name} must be {text}, got {value}")
    if options["momentum_dtype"] and any(
        p.dtype in (torch.float16, torch.bfloat16) for p in options["params"]
    ):
        raise ValueError("momentum_dtype 'bfloat16' is for float32 and float64 parameters")


def combination(defaults: Mapping[str, Any]) -> None:
    """Raise ValueError for implementations that exclude each other, and for what an option needs."""
    for problem in rules.missing(defaults):
        raise ValueError(problem)
    if defaults["fused"]:
        for other in ("foreach", "differentiable", "capturable"):
            if defaults[other]:
                raise ValueError(f"fused and {other} cannot both be True")
    if defaults["foreach"] and defaults["differentiable"]:
        raise ValueError("foreach and differentiable cannot both be True")


def effects(groups: list[dict[str, Any]]) -> None:
    """Raise ValueError for an option that has no effect in any group."""
    found = [list(rules.inert(options)) for options in groups]
    for problem in found[0]:
        if all(problem in others for others in found):
            raise ValueError(problem)
    for options in groups:
        if options["stochastic_rounding"] and all(p.dtype != torch.bfloat16 for p in options["params"]):
            raise ValueError("stochastic_rounding has no effect without bfloat16 parameters")
