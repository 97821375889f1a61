"""Steps with the direction of one phase of the hybrid and the length of the other."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.sign_step import plain, shards
from sign_ablate.optim.sign_step.inputs import StepConstants
from sign_ablate.optim.sign_step.shards import Todo


def after_switch(todo: list[Todo], phase: bool | Tensor, *, after: str, length: str) -> list[Todo]:
    """The constants of SGD-phase steps along sign(m) or g, as long as a sign step or as an SGD step.

    Both lengths are over all d coordinates that have a gradient: δ√d, and λ̄‖g‖. With several learning rates
    they are ‖δ‖ and ‖λ̄g‖, and a group's part of the step is proportional to its δ.

    Args:
        todo: groups, their parameters at work, and their constants, with δ and λ̄.
        phase: True in the SGD phase; a tensor where only the device knows.
        after: direction, "sign" or "gradient".
        length: "kept", that of a sign step, or "projected", that of an SGD step.
    """
    rates: list[Any] = [const.lr for _, _, const in todo]
    if (after == "sign") == (length == "projected"):
        ratio = _ratio(todo, after)
        rates = [rate * ratio for rate in rates]
    step = _sign_step if after == "sign" else _sgd_step
    return [
        (group, work, step(const, phase, rate))
        for (group, work, const), rate in zip(todo, rates, strict=True)
    ]


def _ratio(todo: list[Todo], after: str) -> Tensor:
    """Factor of δ that gives the step its length."""
    items = [(const, x) for _, work, const in todo for x in work]
    squares = torch.stack([_square(const, x).to(items[0][1][1].device) for const, x in items])
    squares = shards.reduced([x[0] for _, x in items], squares.unsqueeze(1)).squeeze(1)
    sign = sum(const.lr**2 * x[0].numel() * (2 if x[0].is_complex() else 1) for const, x in items)
    weights = [const.lam if after == "sign" else const.lr for const, _ in items]
    gradient = torch.stack([w**2 * square for w, square in zip(weights, squares, strict=True)]).sum()
    sign = torch.zeros_like(gradient) + sign  # on the device, if it is a float
    over, under = (gradient, sign) if after == "sign" else (sign, gradient)
    return torch.where(under == 0, 0, (over / under).sqrt())  # no gradient, or lr 0: no step


def _square(const: StepConstants, x: Any) -> Tensor:
    """‖g‖² of a parameter's local part, with g as the step sees it."""
    parts = [plain.effective(block, const).square().sum() for block in shards.item(*x).blocks()]
    return torch.stack(parts).sum().float()


def _sign_step(const: StepConstants, phase: Any, rate: Any) -> StepConstants:
    """A sign step with this rate in the SGD phase, where there is no dither."""
    if phase is True:
        return dataclasses.replace(const, phase=False, lr=rate, dither=None, sigma=0.0)
    lr = const.lr if rate is const.lr else torch.where(phase, rate, const.lr)
    sigma: Any = const.sigma
    if const.dither is not None:
        sigma = torch.where(phase, 0.0, sigma)
    return dataclasses.replace(const, phase=False, lr=lr, sigma=sigma)


def _sgd_step(const: StepConstants, phase: Any, rate: Any) -> StepConstants:
    """An SGD step with this rate in the SGD phase."""
    return dataclasses.replace(const, lam=rate)
