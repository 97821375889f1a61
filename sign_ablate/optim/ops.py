"""Tensor operations that the steps share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Group = dict[str, Any]


def rate(group: Group) -> float | Tensor:
    """The learning rate δ of a group: a float, or a 0-dimensional tensor that stays on its device."""
    lr: float | Tensor = group["lr"]
    return lr.reshape(()) if isinstance(lr, Tensor) else lr


def sign(x: Tensor) -> Tensor:
    """sign(x), but NaN where x is not finite: `torch.sign(nan)` is 0 and would hide a divergence."""
    return torch.sign(x).add_(x, alpha=0)  # 0·x is NaN where x is not finite


def real(x: Tensor) -> Tensor:
    """x, or the real view of a complex x."""
    return torch.view_as_real(x) if x.is_complex() else x


def local(x: Any) -> Tensor:
    """x, or this process's part of it if it is a DTensor (FSDP2)."""
    part: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return part


def signs(xs: Sequence[Tensor]) -> list[Tensor]:
    """`sign` of many tensors."""
    found = list(torch._foreach_sign(list(xs)))
    torch._foreach_add_(found, list(xs), alpha=0)
    return found


def descend(xs: list[Tensor], directions: list[Tensor], by: float | Tensor) -> None:
    """x ← x − by·direction of many tensors, as `torch.optim` rounds it where `by` is a float."""
    if isinstance(by, Tensor):
        torch._foreach_sub_(xs, torch._foreach_mul(directions, by))
    else:
        torch._foreach_add_(xs, directions, alpha=-by)


def decay(xs: list[Tensor], group: Group) -> None:
    """Decoupled weight decay of many tensors: x ← (1 − lr·weight_decay)·x."""
    if group["weight_decay"]:
        torch._foreach_mul_(xs, 1 - rate(group) * group["weight_decay"])
