"""λ_k and its average λ̄: equations (11), (12) of arXiv 2604.25550, and what SWATS does instead."""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.ops import Group, rate
from sign_ablate.optim.sign_step import triton_step

#: what a group keeps of each λ: the average of r_k, its weight, the last r_k, and how many were left out
STATE = ("lambda_ema", "lambda_weight", "lambda_last", "lambda_skipped")


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


def ratio(sums: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """r_k = λ_k/δ_k of eq. (12) or of SWATS's rule, and a mask of those to average.

    Left out are those without information, where g or ⟨s, g⟩ is 0, and those that are not finite.
    """
    dot, gradient, step = sums.unbind(-1)
    size = dot.abs()
    if group["lambda_rule"] == "swats":
        value = step / (size + group["eps"])
    else:
        value = size / (gradient + group["eps"])
    low = torch.minimum(size, gradient)  # NaN passes through, and no comparison holds for it
    high = torch.maximum(torch.maximum(size, gradient), value)
    return value, (low > 0) & (high < torch.inf)


def observe(group: Group, sums: Tensor, slots: list[int], size: int, phase: bool | Tensor) -> Tensor:
    """Average r_k, in place (CUDA graphs); where the phase says SGD, leave the average alone.

    Returns which of the r_k are of use. The others are counted.

    Args:
        group: the parameter group, which keeps the averages: torch would cast them elsewhere.
        sums: ⟨s, g⟩, ‖g‖² and ‖s‖², a row per slot.
        slots: which of the `size` averages they belong to.
        size: 1, or the number of parameters.
        phase: see HybridSignSGD.phase.
    """
    for key in STATE:
        if group[key] is None:
            dtype = torch.int32 if key == "lambda_skipped" else torch.float32
            group[key] = torch.zeros(size, dtype=dtype, device=sums.device)
        group[key] = group[key].to(sums.device)  # after a load from another device
    whole = len(slots) == size
    if whole and triton_step.observes(group, sums):
        return triton_step.observe(group, [group[key] for key in STATE], sums, rate(group), phase)
    values, found = ratio(sums, group)
    if group["lambda_schedule"] == "frozen":
        values = values * rate(group)
    one = 1 - group["eta"]
    useful, useless = found, ~found
    if isinstance(phase, Tensor):
        useful, useless = useful & ~phase, useless & ~phase
    for i, slot in enumerate([0] if whole else slots):
        of, where = (slice(None), slice(None)) if whole else (slice(i, i + 1), slice(slot, slot + 1))
        ema, weight, last, skipped = (group[key][where] for key in STATE)
        value, use = values[of], useful[of]
        average = torch.lerp(ema, value, one)
        seen = weight + (1 - weight) * (one if group["bias_correction"] else 1.0)
        for old, new in ((ema, average), (weight, seen), (last, value)):
            old.copy_(torch.where(use, new, old))
        skipped.add_(useless[of])
    return found


def join(group: Group, others: list[Group]) -> None:
    """Give a new group of the global scope the r̄ of the others."""
    known = [g for g in others if g["lambda_scope"] == "global" and g["lambda_ema"] is not None]
    if group["lambda_scope"] != "global" or not known:
        return
    scale = torch.as_tensor(_unit(group)) / _unit(known[0])
    for key in STATE:
        group[key] = known[0][key].clone()
    for key in ("lambda_ema", "lambda_last"):
        group[key].mul_(scale).nan_to_num_(0.0, 0.0, 0.0)  # frozen, and the other's lr is 0


def averaged(group: Group, otherwise: float | Tensor = 1.0) -> Tensor:
    """The average of what was observed: r̄, or λ̄ itself where the schedule is frozen.

    `otherwise` is r̄ where nothing was observed.
    """
    value: Tensor = group["lambda_ema"] / group["lambda_weight"]
    return torch.where(group["lambda_weight"] > 0, value, otherwise * _unit(group))


def lambda_bar(group: Group, groups: list[Group]) -> Tensor | float:
    """λ̄; 0-dimensional, or one per parameter.

    Where nothing was observed r̄ is the mean of what the other groups and tensors observed, and 1 (λ̄ = δ)
    if they did not either. At the naive hand-off λ̄ is `sgd_lr`.
    """
    lr = rate(group)
    if not group["calibrate"]:
        value: Tensor | float = lr * group["naive_ratio"]
        return value
    observed = group["lambda_ema"] is not None
    otherwise = 1.0 if observed and group["lambda_scope"] == "global" else _mean_ratio(groups)
    if not observed:
        return lr * otherwise
    average = averaged(group, otherwise)
    average = average.reshape(()) if average.numel() == 1 else average
    return average * factor(group)


def summary(groups: list[Group], in_sgd: bool | Tensor) -> dict[str, Tensor | float]:
    """The diagnostics of λ, as means over the groups or tensors of the scope.

    λ̄, in the sign phase the last λ_k that was averaged, and the number of those that were kept out.
    """
    chosen = groups[:1] if groups[0]["lambda_scope"] == "global" else groups
    chosen = [group for group in chosen if group["lambda_ema"] is not None]
    if not chosen:
        return {}
    bars = [torch.as_tensor(lambda_bar(group, groups)).reshape(-1) for group in chosen]
    out: dict[str, Tensor | float] = {"lambda_bar": torch.cat(bars).mean()}
    if in_sgd is not True:
        out["lambda_k"] = torch.cat([group["lambda_last"] * factor(group) for group in chosen]).mean()
    out["lambda_skipped"] = torch.cat([group["lambda_skipped"] for group in chosen]).sum()
    return out


def factor(group: Group) -> float | Tensor:
    """The factor that makes λ of the group's averages: 1 where the schedule is frozen, else δ."""
    return 1.0 if group["lambda_schedule"] == "frozen" else rate(group)


def _unit(group: Group) -> float | Tensor:
    """The divisor that makes λ/δ of the group's averages: δ where the schedule is frozen, else 1."""
    return rate(group) if group["lambda_schedule"] == "frozen" else 1.0


def _mean_ratio(groups: list[Group]) -> Tensor | float:
    """The mean r̄ over what was observed; 1 without any."""
    known = [group for group in groups if group["lambda_ema"] is not None]
    if not known:
        return 1.0
    ratios = torch.cat([averaged(group) / _unit(group) for group in known])
    seen = (torch.cat([group["lambda_weight"] for group in known]) > 0) & ratios.isfinite()
    mean = torch.where(seen, ratios, 0).sum() / seen.sum()
    return torch.where(seen.any(), mean, 1)
