"""Update rules for many parameters at once, with torch's foreach functions: a few launches on a GPU.

Bitwise equal to `plain`, apart from the order of sums on a GPU.
"""

import dataclasses

import torch
from torch import Tensor

from sign_ablate.optim.flat import CHUNK, cat, segment_sums
from sign_ablate.optim.ops import signs
from sign_ablate.optim.sign_step import joined
from sign_ablate.optim.sign_step.inputs import Item, StepConstants
from sign_ablate.optim.sign_step.plain import direction, partial_sums, sign


def step(items: list[Item], const: StepConstants) -> list[Tensor | None]:
    """One step of parameters of one dtype, in the sign phase or with a phase known only on the device.

    Returns the sums of each parameter's projection with `const.project`, else Nones.
    """
    gs = _gradients(items, const)
    old = [x.m for x in items if x.m is not None]
    late = isinstance(const.phase, Tensor)
    kept = late or (const.project is not None and const.project.previous)
    ms = _advanced(old, gs, const, in_place=not kept) if old else gs
    if const.zero == "zero" and not isinstance(const.sigma, Tensor) and const.sigma == 0:
        steps = signs(ms)
    else:
        steps = joined.apply(lambda m, x: direction(m, x, const), ms, items)
    sums: list[Tensor | None] = [None] * len(items)
    if const.project is not None:
        clean = steps
        if not const.project.applied and (const.project.previous or const.dither is not None):
            sources = old if const.project.previous and old else ms
            plus = const.zero != "zero"
            clean = joined.apply(lambda m, x: sign(m, x, const), sources, items) if plus else signs(sources)
        sums = list(_sums(clean, gs, items, const.project.energy))
    if isinstance(const.phase, Tensor):
        vs = _velocities(old, gs, items, const) if const.sgd_momentum else gs
        signed = torch._foreach_mul(steps, const.lr)
        _descend(items, joined.where(const.phase, _scaled(vs, items, const), signed, items), 1, const)
        if old:
            ms = joined.where(const.phase, vs if const.sgd_momentum else old, ms, items)
    else:
        _descend(items, steps, const.lr, const)
    if kept and old:
        torch._foreach_copy_(old, ms)
    return sums


def sgd_step(items: list[Item], const: StepConstants) -> None:
    """One step of parameters of one dtype in the SGD phase."""
    gs = _gradients(items, const)
    if const.sgd_momentum:
        old = [x.m for x in items if x.m is not None]
        gs = _velocities(old, gs, items, const)
        torch._foreach_copy_(old, gs)
    _descend(items, _scaled(gs, items, const), 1, const)


def squares(items: list[Item], const: StepConstants) -> Tensor:
    """‖g‖² of parameters of one dtype, with the effective g (`plain.effective`)."""
    gs = _gradients(items, const)
    counts = [-(-g.numel() // CHUNK) for g in gs]
    chunks = cat(gs, [count * CHUNK for count in counts]).view(-1, CHUNK)
    return segment_sums((chunks * chunks).sum(-1), counts).float()


def _gradients(items: list[Item], const: StepConstants) -> list[Tensor]:
    """`plain.effective` for many parameters."""
    gs = [x.g for x in items]
    if const.factor != 1:
        gs = list(torch._foreach_mul(gs, const.factor))
    if const.coupled:
        gs = list(torch._foreach_add(torch._foreach_mul([x.p for x in items], const.coupled), gs))
    return gs


def _advanced(ms: list[Tensor], gs: list[Tensor], const: StepConstants, *, in_place: bool) -> list[Tensor]:
    """m_{k+1} for many parameters."""
    if not in_place:
        if const.heavy_ball:
            return list(torch._foreach_add(torch._foreach_mul(ms, const.beta), gs))
        return list(torch._foreach_lerp(ms, gs, 1 - const.beta))
    if const.heavy_ball:
        torch._foreach_mul_(ms, const.beta)
        torch._foreach_add_(ms, gs)
    else:
        torch._foreach_lerp_(ms, gs, 1 - const.beta)
    return ms


def _velocities(ms: list[Tensor], gs: list[Tensor], items: list[Item], const: StepConstants) -> list[Tensor]:
    """`plain.sgd_velocity` for many parameters; m is unchanged."""
    if const.first_sgd is True:
        return gs
    vs = list(torch._foreach_add(torch._foreach_mul(ms, const.beta), gs))
    return joined.where(const.first_sgd, gs, vs, items) if isinstance(const.first_sgd, Tensor) else vs


def _scaled(gs: list[Tensor], items: list[Item], const: StepConstants) -> list[Tensor]:
    """λ̄g of many parameters, or (1−β)λ̄v."""
    lam = const.lam * (1 - const.beta) if const.sgd_momentum else const.lam
    if isinstance(lam, Tensor) and lam.dim() == 1 and lam.numel() > 1:
        return list(torch._foreach_mul(gs, [lam[x.slot] for x in items]))
    return list(torch._foreach_mul(gs, lam))


def _descend(items: list[Item], steps: list[Tensor], by: float | Tensor, const: StepConstants) -> None:
    """x ← (1 − δ·weight_decay)x − by·step of many parameters."""
    params = [x.p for x in items]
    if const.decay is not None:
        torch._foreach_mul_(params, const.decay)
    if isinstance(by, Tensor):
        torch._foreach_mul_(steps, by)
        torch._foreach_sub_(params, steps)
    else:
        torch._foreach_sub_(params, steps, alpha=by)


def _sums(ss: list[Tensor], gs: list[Tensor], items: list[Item], energy: bool) -> list[Tensor]:
    """Sums of each parameter, ‖s‖² with `energy`; on a CPU in the order of `plain.step_item`."""
    if items[0].p.device.type == "cpu":
        blocks = [dataclasses.replace(x, g=g, m=s).blocks() for x, g, s in zip(items, gs, ss, strict=True)]
        return [
            torch.stack([partial_sums(b.m, b.g) for b in own if b.m is not None]).sum(0) for own in blocks
        ]
    counts = [-(-t.numel() // CHUNK) for t in gs]
    both = cat([*ss, *gs], [count * CHUNK for count in counts] * 2).view(2, -1, CHUNK)
    chunks = both.new_zeros(3, sum(counts))
    torch.sum(both * both[1], -1, out=chunks[:2])
    if energy:
        torch.sum(both[0] * both[0], -1, out=chunks[2])
    return list(segment_sums(chunks, counts).float().unbind(1))
