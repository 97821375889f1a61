"""λ_k and its average λ̄: equations (11), (12) of arXiv 2604.25550, and what SWATS does instead."""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.work import delta


def rows(values: list[Any], device: torch.device) -> Tensor:
    """⟨s, g⟩, ‖g‖², ‖s‖² of each parameter, from whichever implementation made the step."""
    if not any(isinstance(value, Tensor) for value in values):
        return torch.tensor(
            [value or (0.0, 0.0, 0.0) for value in values], dtype=torch.float32, device=device
        )
    empty = torch.zeros(3, dtype=torch.float32, device=device)
    return torch.stack(
        [
            value.to(device)
            if isinstance(value, Tensor)
            else torch.tensor(value, device=device)
            if value
            else empty
            for value in values
        ]
    )


def ratio(sums: Tensor, group: dict[str, Any]) -> Tensor:
    """r_k = λ_k/δ_k of eq. (12), or SWATS's rule."""
    dot, gradient, step = sums.unbind(-1)
    if group["lambda_rule"] == "swats":
        return step / (dot.abs() + group["eps"])
    return dot.abs() / (gradient + group["eps"])


def observe(group: dict[str, Any], values: Tensor, slots: list[int], size: int, phase: bool | Tensor) -> None:
    """Average r_k, in place (CUDA graphs); where the phase says SGD, leave the average alone.

    Args:
        group: the parameter group, which keeps the averages: torch would cast them elsewhere.
        values: r_k, one per slot.
        slots: which of the `size` averages they belong to.
        size: 1, or the number of parameters.
        phase: see HybridSignSGD.phase.
    """
    keys = ("lambda_ema", "lambda_weight", "lambda_last")
    if group["lambda_ema"] is None:
        for key in keys:
            group[key] = torch.zeros(size, dtype=torch.float32, device=values.device)
    for key in keys:
        group[key] = group[key].to(values.device)  # after a load from another device
    if group["lambda_schedule"] == "frozen":
        values = values * delta(group)
    one = 1 - group["eta"]
    whole = len(slots) == size
    pieces = (
        [(slice(None), values)]
        if whole
        else [(slice(s, s + 1), v) for s, v in zip(slots, values, strict=True)]
    )
    for where, value in pieces:
        ema, weight, last = (group[key][where] for key in keys)
        average = torch.lerp(ema, value, one)
        seen = weight + (1 - weight) * (one if group["bias_correction"] else 1.0)
        for old, new in ((ema, average), (weight, seen), (last, value)):
            old.copy_(new if phase is False else torch.where(torch.as_tensor(phase), old, new))


def averaged(group: dict[str, Any]) -> Tensor:
    """The average of what was observed: r̄, or λ̄ itself where the schedule is frozen."""
    weight = group["lambda_weight"]
    value: Tensor = group["lambda_ema"] / weight
    unit = delta(group) if group["lambda_schedule"] == "frozen" else 1.0
    return torch.where(weight > 0, value, unit)


def lambda_bar(group: dict[str, Any]) -> Tensor | float:
    """λ̄; 0-dimensional, or one per parameter. Before any observation, δ; at the naive hand-off, `sgd_lr`."""
    lr = delta(group)
    if group["lambda_ema"] is None:
        value: Tensor | float = lr * group["naive_ratio"]
        return value
    average = averaged(group)
    average = average.reshape(()) if average.numel() == 1 else average
    return average if group["lambda_schedule"] == "frozen" else average * lr
