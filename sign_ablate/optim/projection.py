"""λ_k and its average λ̄: equations (11), (12) of arXiv 2604.25550, or the rule of SWATS."""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.ops import Group, rate
from sign_ablate.optim.sign_step import triton_step

#: entries of a group: the average of r_k, the weight of the average, the last r_k, the number of skipped r_k
STATE = ("lambda_ema", "lambda_weight", "lambda_last", "lambda_skipped")


def rows(values: list[Any], device: torch.device) -> Tensor:
    """Tensor of ⟨s, g⟩, ‖g‖², ‖s‖², one row per parameter, from the numbers, tensors or Nones of the step."""
    if not any(isinstance(value, Tensor) for value in values):
        return torch.tensor(
            [value or (0.0, 0.0, 0.0) for value in values], dtype=torch.float32, device=device
        )
    known = [(0.0, 0.0, 0.0) if value is None else value for value in values]
    return torch.stack([torch.as_tensor(value, dtype=torch.float32, device=device) for value in known])


def ratio(sums: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """r_k = λ_k/δ_k by eq. (12) or by SWATS's rule, and a mask of the r_k to average.

    An r_k is skipped if g or ⟨s, g⟩ is 0, and if it or one of its sums is not finite.
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
    """Update the averages of r_k in place, as CUDA graphs need it. In the SGD phase they stay as they are.

    Args:
        group: the parameter group. It keeps the averages, since torch casts the state of a parameter.
        sums: ⟨s, g⟩, ‖g‖² and ‖s‖², one row per slot.
        slots: for each row, the index of its average.
        size: the number of averages: 1, or the number of parameters.
        phase: see HybridSignSGD.phase.

    Returns:
        A mask of the r_k that can be averaged. The others are counted in `lambda_skipped`.
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
        pairs = (ema, average), (weight, seen), (last, value)
        new = [torch.where(use, now, before) for before, now in pairs]
        torch._foreach_copy_([before for before, _ in pairs], new)
        skipped.add_(useless[of])
    return found


def join(group: Group, others: list[Group]) -> None:
    """Copy the averages of the other groups to a group that was added later, in the global scope."""
    known = [g for g in others if g["lambda_scope"] == "global" and g["lambda_ema"] is not None]
    if group["lambda_scope"] != "global" or not known:
        return
    scale = torch.as_tensor(_unit(group)) / _unit(known[0])
    for key in STATE:
        group[key] = known[0][key].clone()
    for key in ("lambda_ema", "lambda_last"):
        group[key].mul_(scale).nan_to_num_(0.0, 0.0, 0.0)  # frozen, and the other's lr is 0


def averaged(group: Group, otherwise: float | Tensor = 1.0) -> Tensor:
    """The average r̄, or λ̄ itself if the schedule is frozen.

    Args:
        group: the parameter group.
        otherwise: r̄ of groups and tensors without an averaged λ_k.
    """
    value: Tensor = group["lambda_ema"] / group["lambda_weight"]
    return torch.where(group["lambda_weight"] > 0, value, otherwise * _unit(group))


def lambda_bar(group: Group, groups: list[Group]) -> Tensor | float:
    """λ̄: 0-dimensional, or one value per parameter.

    A group or tensor without an averaged λ_k takes the mean r̄ of the others, or 1 (λ̄ = δ) if they have none
    either. Without calibration λ̄ is `sgd_lr`.
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
    """Diagnostics of λ: λ̄, the last averaged λ_k (in the sign phase), and the number of skipped λ_k.

    λ̄ and λ_k are means over the groups or tensors of the scope; the number is their sum.
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
    """Factor from a group's averages to λ: 1 if the schedule is frozen, else δ."""
    return 1.0 if group["lambda_schedule"] == "frozen" else rate(group)


def _unit(group: Group) -> float | Tensor:
    """Divisor from a group's averages to λ/δ: δ if the schedule is frozen, else 1."""
    return rate(group) if group["lambda_schedule"] == "frozen" else 1.0


def _mean_ratio(groups: list[Group]) -> Tensor | float:
    """Mean r̄ of the groups and tensors with an averaged λ_k; 1 if there is none."""
    known = [group for group in groups if group["lambda_ema"] is not None]
    if not known:
        return 1.0
    ratios = torch.cat([averaged(group) / _unit(group) for group in known])
    seen = (torch.cat([group["lambda_weight"] for group in known]) > 0) & ratios.isfinite()
    mean = torch.where(seen, ratios, 0).sum() / seen.sum()
    return torch.where(seen.any(), mean, 1)
