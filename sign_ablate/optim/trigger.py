"""When to switch by itself: the stability of λ̄, SWATS's rule, or a plateau of the loss.

All decisions are tensors, so that no step waits for the device.
"""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.projection import averaged
from sign_ablate.optim.work import delta


def fired(groups: list[dict[str, Any]], loss: Tensor | float | None, device: torch.device) -> Tensor:
    """Whether the coming step is to be the first SGD step. Keeps its state in the first group."""
    group = groups[0]
    state: dict[str, Any] = group["trigger_state"]
    if state is None:
        zeros = ("count", "steps", "loss_ema", "loss_weight", "best")
        state = {key: torch.zeros((), device=device) for key in zeros}
        state["average"] = None
    state = {k: v if v is None else v.to(device) for k, v in state.items()}
    group["trigger_state"] = state
    rule = {"stable": _stable, "swats": _swats, "plateau": _plateau}[group["trigger"]]
    decision = rule(groups, state, loss)
    state["steps"].add_(1)
    return decision


def _observed(groups: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """The averages and the last observations of all groups, as λ (times δ where they are ratios)."""
    known = [g for g in groups if g["lambda_ema"] is not None]
    units = [1.0 if g["lambda_schedule"] == "frozen" else delta(g) for g in known]
    averages = torch.cat([averaged(g) * u for g, u in zip(known, units, strict=True)])
    return averages, torch.cat([g["lambda_last"] * u for g, u in zip(known, units, strict=True)])


def _stable(groups: list[dict[str, Any]], state: dict[str, Any], loss: Tensor | float | None) -> Tensor:
    """|λ̄_k/λ̄_{k−1} − 1| < tolerance in `patience` steps running; a change of lr itself does not count."""
    average = torch.cat([averaged(g) for g in groups if g["lambda_ema"] is not None])
    if state["average"] is None or state["average"].shape != average.shape:
        state["average"] = torch.zeros_like(average)
    old = state["average"]
    still = ((average - old).abs() < groups[0]["tolerance"] * old).all()
    state["count"].copy_(torch.where(still, state["count"] + 1, 0))
    old.copy_(average)
    return state["count"] >= groups[0]["patience"]


def _swats(groups: list[dict[str, Any]], state: dict[str, Any], loss: Tensor | float | None) -> Tensor:
    """|λ̄ − λ_k| < tolerance, not at the first step, where the corrected average is λ_k itself."""
    average, last = _observed(groups)
    return ((average - last).abs() < groups[0]["tolerance"]).all() & (state["steps"] > 0)


def _plateau(groups: list[dict[str, Any]], state: dict[str, Any], loss: Tensor | float | None) -> Tensor:
    """The averaged loss (decay η) has not fallen by the relative tolerance for `patience` steps."""
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
