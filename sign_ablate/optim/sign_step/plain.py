"""The update rules in torch operations: every option, every device, every dtype.

One parameter is worked on in blocks that stay in the cache, so that no temporary is as large as a
parameter. The foreach implementation runs the same operations in the same order.
"""

import dataclasses

import torch
from torch import Tensor

from sign_ablate.optim import noise
from sign_ablate.optim.sign_step import joined
from sign_ablate.optim.sign_step.inputs import Item, Rule, work_dtype
from sign_ablate.optim.sign_step.upload import on_device

#: coordinates that are summed at once, for λ of many parameters
_CHUNK = 1024


def effective(x: Item, rule: Rule) -> Tensor:
    """The gradient that the rules see: ascent, loss scale and coupled weight decay applied."""
    g = x.g.to(work_dtype(x.p))
    if rule.scale != 1:
        g = g * rule.scale
    if rule.coupled:
        g = (x.p * rule.coupled).to(g.dtype) + g
    return g


def advanced(x: Item, g: Tensor, rule: Rule) -> Tensor:
    """m_{k+1}, in place where the momentum is of the working dtype; `store` does the rest."""
    if x.m is None:
        return g
    m = x.m.to(g.dtype)
    if rule.heavy_ball:
        return m.mul_(rule.beta).add_(g)
    return m.lerp_(g, 1 - rule.beta)


def store(x: Item, m: Tensor) -> None:
    """Round the momentum to its own dtype."""
    if x.m is not None and m is not x.m:
        x.m.copy_(m)


def stored(x: Item, rule: Rule) -> Tensor:
    """m as the state has it, after a step; without momentum, the gradient."""
    return effective(x, rule) if x.m is None else x.m.to(work_dtype(x.p))


def sign(m: Tensor, x: Item, rule: Rule) -> Tensor:
    """sign(m) as `sign_of_zero` says; NaN where m is not finite: `torch.sign(nan)` is 0 and would hide it."""
    if rule.zero == "zero":
        s = torch.sign(m)
    elif rule.zero == "plus":
        s = torch.where(m >= 0, 1.0, -1.0)
    else:
        coin = torch.where(x.words(rule, noise.ZERO) < 1 << 31, 1.0, -1.0)
        s = torch.where(m == 0, coin.to(m.dtype), torch.sign(m))
    return s.add_(m, alpha=0)  # 0·m is NaN where m is not finite


def direction(m: Tensor, x: Item, rule: Rule) -> Tensor:
    """What δ multiplies: sign(m), dithered before or after the sign (Algorithm 1, eq. 10)."""
    sigma = rule.sigma
    if not isinstance(sigma, Tensor) and sigma == 0:
        return sign(m, x, rule)
    words = x.words(rule, noise.DITHER)
    if rule.site == "post":
        xi = noise.gaussian(words) if rule.law == "gaussian" else noise.centred(words) * 12**0.5
        return sign(m, x, rule) + (xi * sigma).to(m.dtype)
    if rule.law == "gaussian":
        inverse = 1 / sigma if isinstance(sigma, Tensor) else min(1 / sigma, 1e38)
        plus = noise.exceeds(words, (m * inverse).detach().float())
        step = plus.to(m.dtype).mul_(2).sub_(1).add_(m, alpha=0)  # cheaper than torch.where
    else:  # uniform on ±A with variance σ²
        v = 2 * noise.centred(words)
        step = m + (v * (sigma * 3**0.5)).to(m.dtype)
        step = torch.sign(step).add_(step, alpha=0)
        if rule.law == "subtractive":
            step = step - v.to(m.dtype)
    if isinstance(sigma, Tensor):  # σ relative to an rms of 0
        step = torch.where(sigma == 0, sign(m, x, rule), step)
    return step


def move(x: Item, g: Tensor, step: Tensor | None, v: Tensor | None, rule: Rule) -> None:
    """x ← (1 − δ·weight_decay)x − δ·step, or − λ̄g in the SGD phase (v is its momentum)."""
    update, factor = step, rule.lr
    if rule.phase is not False:
        lam = x.lam(rule)
        sgd = g * lam if v is None else v * (lam * (1 - rule.beta))
        if step is not None:
            sgd = torch.where(torch.as_tensor(rule.phase), sgd.to(step.dtype), step * rule.lr)
        update, factor = sgd, 1
    assert update is not None
    wide = x.p.to(g.dtype)  # the parameter itself, unless it has 16 bits
    if rule.decay is not None:
        wide.mul_(rule.decay)
    if isinstance(factor, Tensor):
        wide.sub_(update * factor)
    else:
        wide.sub_(update, alpha=factor)
    if wide is not x.p:
        random = rule.stochastic and x.p.dtype == torch.bfloat16
        x.p.copy_(stochastic(wide, x, rule) if random else wide)


def stochastic(wide: Tensor, x: Item, rule: Rule) -> Tensor:
    """`wide` rounded up or down to bfloat16, each with the probability that makes the mean exact."""
    noise_bits = (x.words(rule, noise.ROUNDING) >> 16).to(torch.int32)
    bits = (wide.view(torch.int32) + noise_bits) & -65536
    return torch.where(wide.isfinite(), bits.view(torch.float32), wide).to(torch.bfloat16)


def partial_sums(s: Tensor, g: Tensor) -> Tensor:
    """⟨s, g⟩, ‖g‖² and ‖s‖² of a block."""
    return torch.stack([(s * g).sum(), (g * g).sum(), (s * s).sum()]).to(torch.float32)


def step_item(x: Item, rule: Rule) -> Tensor | None:
    """One parameter's step. Returns the sums of its projection, if the rule asks for them."""
    sums = [step_block(block, rule) for block in x.blocks()]
    kept = [s for s in sums if s is not None]
    return torch.stack(kept).sum(0) if kept else None


def step_block(x: Item, rule: Rule) -> Tensor | None:
    """One block's step, in the sign phase, in the SGD phase, or where only the device knows which."""
    g = effective(x, rule)
    if rule.phase is True:
        move(x, g, None, sgd_velocity(x, g, rule) if rule.sgd_momentum else None, rule)
        return None
    clean = None
    if rule.project is not None and rule.project.previous and x.m is not None:
        clean = sign(x.m.to(g.dtype), x, rule)
    v = None
    if isinstance(rule.phase, Tensor) and x.m is not None:
        old = x.m.clone()
        v = sgd_velocity(x, g, rule, keep=True) if rule.sgd_momentum else None
        m = advanced(dataclasses.replace(x, m=old), g, rule)
        x.m.copy_(torch.where(rule.phase, (x.m if v is None else v).to(m.dtype), m))
    else:
        m = advanced(x, g, rule)
        store(x, m)
    step = direction(m, x, rule)
    sums = None
    if rule.project is not None:
        if rule.project.applied:
            clean = step
        elif clean is None:
            clean = sign(m, x, rule)
        sums = partial_sums(clean, g)
    move(x, g, step, v, rule)
    return sums


def sgd_velocity(x: Item, g: Tensor, rule: Rule, *, keep: bool = False) -> Tensor:
    """v ← βv + g, from v = 0 at the first SGD step (SWATS); in m's place, unless to be kept."""
    assert x.m is not None
    if rule.first_sgd is True:
        v = g.clone()
    else:
        v = x.m.to(g.dtype) * rule.beta + g
        if isinstance(rule.first_sgd, Tensor):
            v = torch.where(rule.first_sgd, g, v)
    if not keep:
        x.m.copy_(v)
    return v


def step_foreach(items: list[Item], rule: Rule) -> list[Tensor | None]:
    """The steps of many parameters of one dtype, clean parts by foreach. Bitwise equal to `step_item`."""
    gs = _gradients(items, rule)
    previous = gs
    if rule.project is not None and rule.project.previous and rule.beta:
        previous = [x.m.clone() for x in items if x.m is not None]
    ms = gs
    if rule.beta:
        ms = [x.m for x in items if x.m is not None]
        if rule.heavy_ball:
            torch._foreach_mul_(ms, rule.beta)
            torch._foreach_add_(ms, gs)
        else:
            torch._foreach_lerp_(ms, gs, 1 - rule.beta)
    if rule.zero == "zero" and not isinstance(rule.sigma, Tensor) and rule.sigma == 0:
        steps = _signs(ms)
    else:
        steps = joined.apply(lambda m, x: direction(m, x, rule), ms, items)
    sums: list[Tensor | None] = [None] * len(items)
    if rule.project is not None:
        clean = steps
        if not rule.project.applied and (rule.project.previous or rule.site is not None):
            sources = previous if rule.project.previous else ms
            plus = rule.zero != "zero"
            clean = joined.apply(lambda m, x: sign(m, x, rule), sources, items) if plus else _signs(sources)
        sums = list(_foreach_sums(clean, gs, items, rule.project.energy))
    if rule.decay is not None:
        torch._foreach_mul_([x.p for x in items], rule.decay)
    if isinstance(rule.lr, Tensor):
        torch._foreach_mul_(steps, rule.lr)
        torch._foreach_sub_([x.p for x in items], steps)
    else:
        torch._foreach_sub_([x.p for x in items], steps, alpha=rule.lr)
    return sums


def _gradients(items: list[Item], rule: Rule) -> list[Tensor]:
    """`effective` of many parameters."""
    gs = [x.g for x in items]
    if rule.scale != 1:
        gs = list(torch._foreach_mul(gs, rule.scale))
    if rule.coupled:
        gs = list(torch._foreach_add(torch._foreach_mul([x.p for x in items], rule.coupled), gs))
    return gs


def _signs(ms: list[Tensor]) -> list[Tensor]:
    """`sign` of many tensors."""
    signs = list(torch._foreach_sign(ms))
    torch._foreach_add_(signs, ms, alpha=0)
    return signs


def _foreach_sums(ss: list[Tensor], gs: list[Tensor], items: list[Item], energy: bool) -> list[Tensor]:
    """The partial sums of each parameter, ‖s‖² where it is wanted; on a CPU in the order of `step_item`."""
    if items[0].p.device.type == "cpu":
        blocks = [dataclasses.replace(x, g=g, m=s).blocks() for x, g, s in zip(items, gs, ss, strict=True)]
        return [
            torch.stack([partial_sums(b.m, b.g) for b in own if b.m is not None]).sum(0) for own in blocks
        ]
    # Sums of whole chunks first: segment_reduce takes one thread per column of a matrix, and one block per
    # segment of a vector, so that it must have little to do.
    counts = tuple(-(-t.numel() // _CHUNK) for t in gs)
    both = joined.cat([*ss, *gs], [count * _CHUNK for count in counts] * 2).view(2, -1, _CHUNK)
    chunks = both.new_zeros(3, sum(counts))
    torch.sum(both * both[1], -1, out=chunks[:2])
    if energy:
        torch.sum(both[0] * both[0], -1, out=chunks[2])
    lengths = on_device(("lengths", counts), lambda: torch.tensor(counts * 3), both.device)
    sums = torch.segment_reduce(chunks.view(-1), "sum", lengths=lengths, unsafe=True)
    return list(sums.view(3, -1).float().unbind(1))


def sgd_foreach(items: list[Item], rule: Rule) -> None:
    """The SGD phase of many parameters of one dtype. Bitwise equal to `step_item`."""
    gs = _gradients(items, rule)
    lam: float | Tensor = rule.lam
    if rule.sgd_momentum:
        ms = [x.m for x in items if x.m is not None]
        if rule.first_sgd is not True:
            gs = list(torch._foreach_add(torch._foreach_mul(ms, rule.beta), gs))
        torch._foreach_copy_(ms, gs)
        lam = lam * (1 - rule.beta)
    if isinstance(lam, Tensor) and lam.dim() == 1 and lam.numel() > 1:
        updates = torch._foreach_mul(gs, [lam[x.slot] for x in items])
    else:
        updates = torch._foreach_mul(gs, lam)
    if rule.decay is not None:
        torch._foreach_mul_([x.p for x in items], rule.decay)
    torch._foreach_sub_([x.p for x in items], updates)
