"""Diagnostics of a step, computed from the state after it."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.sign_step import plain, shards
from sign_ablate.optim.sign_step.inputs import StepConstants, sigma_k


def of_step(todo: list[tuple[dict[str, Any], list[Any], StepConstants]]) -> dict[str, Tensor | float]:
    """σ_k, the rms of m, and the fraction of signs that the dither flipped, in the last step.

    σ_k is the mean over the groups that dither, or with scale "tensor_rms" over their tensors; the other two
    are over all coordinates of this rank: of a sharded parameter, its part.

    Args:
        todo: groups, the `Work` of their parameters, and the constants of the coming step.
    """
    relative = any(group["scale"] != "absolute" and group["alpha"] for group, _, _ in todo)
    last = []
    for group, work, const in todo:
        step = const.step - 1
        last.append((group, work, dataclasses.replace(const, step=step, sigma=sigma_k(group, step))))
    squares, flips, count = [], [], 0
    last = shards.relative(last, stored=True) if relative else last
    for _, work, const in last:
        for x in work:
            for block in shards.item(*x).blocks():
                m = plain.stored(block, const)
                squares.append(m.square().sum().float())
                if const.dither is not None:
                    dithered = torch.sign(plain.direction(m, block, const))
                    flips.append((dithered != torch.sign(m)).sum().float())
            count += x[1].numel()
    if not count:
        return {}
    out: dict[str, Tensor | float] = {"momentum_rms": (torch.stack(squares).sum() / count).sqrt()}
    if flips:
        out["sigma"] = _mean([const.sigma for group, _, const in last if group["dither"] and group["alpha"]])
        out["flip_fraction"] = torch.stack(flips).sum() / count
    return out


def _mean(sigmas: list[float | Tensor]) -> float | Tensor:
    """Mean, 0 for an empty list. A tensor if a σ_k is known only on the device."""
    tensors = [sigma for sigma in sigmas if isinstance(sigma, Tensor)]
    if tensors:
        return torch.stack([torch.as_tensor(x, device=tensors[0].device) for x in sigmas]).mean()
    return math.fsum(sigmas) / max(len(sigmas), 1)
