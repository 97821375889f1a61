"""Steps with the direction of one phase of the hybrid and the length of the other."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.sign_step import foreach, plain, shards
from sign_ablate.optim.sign_step.inputs import Item, StepConstants, work_dtype
from sign_ablate.optim.sign_step.shards import Todo


def after_switch(todo: list[Todo], phase: bool | Tensor, *, after: str, length: str) -> list[Todo]:
    """The constants of SGD-phase steps along sign(m) or g, as long as a sign step or as an SGD step.

    Both lengths are over all d coordinates that have a gradient: δ√d, and λ̄‖g‖. With several learning rates
    they are ‖δ‖ and ‖λ̄g‖, and a group's part of the step is proportional to its δ.

    Args:
        todo: groups, the `Work` of their parameters, and their constants, with δ and λ̄.
        phase: True in the SGD phase; a tensor if known only on the device.
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
    device = todo[0][1][0][1].device
    squares = torch.cat([_squares(work, const).to(device) for _, work, const in todo])
    squares = shards.reduced([x[0] for _, work, _ in todo for x in work], squares.unsqueeze(1)).squeeze(1)
    sign: Any = 0
    parts = []
    for (_, work, const), own in zip(todo, squares.split([len(work) for _, work, _ in todo]), strict=True):
        sign = sign + const.lr**2 * sum(x[0].numel() * (2 if x[0].is_complex() else 1) for x in work)
        weight: Any = const.lam if after == "sign" else const.lr
        parts.append(weight**2 * own)
    gradient = torch.cat(parts).sum()
    sign = torch.zeros_like(gradient) + sign  # on the device, if it is a float
    over, under = (gradient, sign) if after == "sign" else (sign, gradient)
    return torch.where(under == 0, 0, (over / under).sqrt())  # no gradient, or lr 0: no step


def _squares(work: list[Any], const: StepConstants) -> Tensor:
    """‖g‖² of the parameters' local parts, with the effective g; a few launches on a GPU."""
    items = [shards.item(*x) for x in work]
    kinds = {(x.p.device, dtype) for x in items for dtype in (x.p.dtype, x.g.dtype, work_dtype(x.p))}
    traced = torch.compiler.is_compiling() or torch.is_grad_enabled()
    if len(kinds) == 1 and items[0].p.device.type != "cpu" and not traced:
        return foreach.squares(items, const)
    return torch.stack([_square(x, const) for x in items])


def _square(x: Item, const: StepConstants) -> Tensor:
    parts = [plain.effective(block, const).square().sum() for block in x.blocks()]
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
