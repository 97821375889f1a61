"""Automatic triggers of the switch to SGD: stability of λ̄, the rule of SWATS, or a plateau of the loss.

All decisions are tensors, so that no step waits for the device.
"""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import checks
from sign_ablate.optim.projection import averaged, factor

Groups = list[dict[str, Any]]


def fired(groups: Groups, loss: Tensor | float | None, fresh: Tensor) -> Tensor:
    """Return a mask, true if the coming step is the first SGD step. The state is kept in the first group.

    Args:
        groups: all parameter groups.
        loss: loss of the step, for the trigger "plateau".
        fresh: 0-dim bool: this step observed some λ_k.
    """
    group, device = groups[0], fresh.device
    state: dict[str, Any] = group["trigger_state"]
    if state is None:
        zeros = ("count", "steps", "loss_ema", "loss_weight", "best")
        state = {key: torch.zeros((), device=device) for key in zeros}
        state["average"] = None
    state = {k: v if v is None else v.to(device) for k, v in state.items()}
    group["trigger_state"] = state
    decide = {"stable": _stable, "swats": _swats, "plateau": _plateau}[group["trigger"]]
    decision = decide(groups, state, loss, fresh)
    state["steps"].add_(fresh)
    return decision


def _stable(groups: Groups, state: dict[str, Any], loss: Tensor | float | None, fresh: Tensor) -> Tensor:
    """|λ̄_k/λ̄_{k−1} − 1| < tolerance in `patience` consecutive observations; changes of lr are ignored."""
    average = torch.cat([averaged(g) for g in groups if g["lambda_ema"] is not None])
    if state["average"] is None or state["average"].shape != average.shape:
        state["average"] = torch.zeros_like(average)
    old = state["average"]
    still = ((average - old).abs() < groups[0]["tolerance"] * old).all()
    count = torch.where(still, state["count"] + 1, 0)
    state["count"].copy_(torch.where(fresh, count, state["count"]))
    old.copy_(average)
    return state["count"] >= groups[0]["patience"]


def _swats(groups: Groups, state: dict[str, Any], loss: Tensor | float | None, fresh: Tensor) -> Tensor:
    """|λ̄ − λ_k| < tolerance, except at the first observation, where the corrected average is λ_k itself."""
    settled = []
    for group in groups:
        if group["lambda_ema"] is not None:
            distance = (averaged(group) - group["lambda_last"]).abs() * factor(group)
            settled.append((distance < groups[0]["tolerance"]) | (group["lambda_weight"] == 0))
    return torch.cat(settled).all() & fresh & (state["steps"] > 0)


def _plateau(groups: Groups, state: dict[str, Any], loss: Tensor | float | None, fresh: Tensor) -> Tensor:
    """The averaged loss (decay η) has not fallen by the relative tolerance for `patience` steps."""
    if loss is None and all(checks.learning_rate(group["lr"]) == 0 for group in groups):
        return torch.zeros_like(fresh)  # the step by which torch.distributed.checkpoint creates the state
    if loss is None:
        raise RuntimeError('trigger "plateau" needs the loss: step(closure), or report_loss before step()')
    one = 1 - groups[0]["eta"]
    state["loss_ema"].add_((loss - state["loss_ema"]) * one)
    state["loss_weight"].add_((1 - state["loss_weight"]) * one)
    average, best = state["loss_ema"] / state["loss_weight"], state["best"]
    better = (average < best - groups[0]["tolerance"] * best.abs()) | (state["steps"] == 0)
    state["count"].copy_(torch.where(better, 0, state["count"] + 1))
    best.copy_(torch.where(better, average, best))
    return state["count"] >= groups[0]["patience"]
