"""Update rules in torch operations: every option, every device, every dtype.

One parameter is worked on in blocks that stay in the cache, so that no temporary is as large as a
parameter. The foreach implementation (`foreach`) runs the same operations in the same order.
"""

import dataclasses

import torch
from torch import Tensor

from sign_ablate.optim import noise
from sign_ablate.optim.sign_step.inputs import Item, StepConstants, work_dtype


def effective(x: Item, const: StepConstants) -> Tensor:
    """Effective gradient: negated for ascent, with loss scale and coupled weight decay."""
    g = x.g.to(work_dtype(x.p))
    if const.factor != 1:
        g = g * const.factor
    if const.coupled:
        g = (x.p * const.coupled).to(g.dtype) + g
    return g


def advanced(x: Item, g: Tensor, const: StepConstants) -> Tensor:
    """m_{k+1}, in place if the momentum has the working dtype; otherwise `store` writes it back."""
    if x.m is None:
        return g
    m = x.m.to(g.dtype)
    if const.heavy_ball:
        return m.mul_(const.beta).add_(g)
    return m.lerp_(g, 1 - const.beta)


def store(x: Item, m: Tensor) -> None:
    """Round the momentum to its own dtype."""
    if x.m is not None and m is not x.m:
        x.m.copy_(m)


def stored(x: Item, const: StepConstants) -> Tensor:
    """m of the state after a step, in the working dtype; without momentum, the gradient."""
    return effective(x, const) if x.m is None else x.m.to(work_dtype(x.p))


def sign(m: Tensor, x: Item, const: StepConstants) -> Tensor:
    """sign(m) with `sign_of_zero`; NaN where m is not finite: `torch.sign(nan)` is 0 and would hide it."""
    if const.zero == "zero":
        s = torch.sign(m)
    elif const.zero == "plus":
        s = torch.where(m >= 0, 1.0, -1.0)
    else:
        coin = torch.where(x.words(const, noise.ZERO) < 1 << 31, 1.0, -1.0)
        s = torch.where(m == 0, coin.to(m.dtype), torch.sign(m))
    return s.add_(m, alpha=0)  # 0·m is NaN where m is not finite


def direction(m: Tensor, x: Item, const: StepConstants) -> Tensor:
    """Direction, which δ multiplies: sign(m), dithered before or after the sign (Algorithm 1, eq. 10)."""
    sigma = const.sigma
    if not isinstance(sigma, Tensor) and sigma == 0:
        return sign(m, x, const)
    words = x.words(const, noise.DITHER)
    if const.dither == "post":
        xi = noise.gaussian(words) if const.law == "gaussian" else noise.centred(words) * 12**0.5
        return sign(m, x, const) + (xi * sigma).to(m.dtype)
    if const.law == "gaussian":
        inverse = 1 / sigma if isinstance(sigma, Tensor) else min(1 / sigma, 1e38)
        plus = noise.exceeds(words, (m * inverse).detach().float())
        step = plus.to(m.dtype).mul_(2).sub_(1).add_(m, alpha=0)  # cheaper than torch.where
    else:  # uniform on ±A with variance σ²
        v = 2 * noise.centred(words)
        step = m + (v * (sigma * 3**0.5)).to(m.dtype)
        step = torch.sign(step).add_(step, alpha=0)
        if const.law == "subtractive":
            step = step - v.to(m.dtype)
    if isinstance(sigma, Tensor):  # σ relative to an rms of 0
        step = torch.where(sigma == 0, sign(m, x, const), step)
    return step


def move(x: Item, g: Tensor, step: Tensor | None, v: Tensor | None, const: StepConstants) -> None:
    """x ← (1 − δ·weight_decay)x − δ·step, or − λ̄g in the SGD phase (v is its momentum)."""
    update, factor = step, const.lr
    if const.phase is not False:
        lam = x.lam(const)
        sgd = g * lam if v is None else v * (lam * (1 - const.beta))
        if step is not None:
            sgd = torch.where(torch.as_tensor(const.phase), sgd.to(step.dtype), step * const.lr)
        update, factor = sgd, 1
    assert update is not None
    wide = x.p.to(g.dtype)  # the parameter itself, unless it has 16 bits
    if const.decay is not None:
        wide.mul_(const.decay)
    if isinstance(factor, Tensor):
        wide.sub_(update * factor)
    else:
        wide.sub_(update, alpha=factor)
    if wide is not x.p:
        random = const.stochastic and x.p.dtype == torch.bfloat16
        x.p.copy_(stochastic(wide, x, const) if random else wide)


def stochastic(wide: Tensor, x: Item, const: StepConstants) -> Tensor:
    """Round `wide` stochastically to bfloat16, without bias."""
    noise_bits = (x.words(const, noise.ROUNDING) >> 16).to(torch.int32)
    bits = (wide.view(torch.int32) + noise_bits) & -65536
    return torch.where(wide.isfinite(), bits.view(torch.float32), wide).to(torch.bfloat16)


def partial_sums(s: Tensor, g: Tensor) -> Tensor:
    """⟨s, g⟩, ‖g‖² and ‖s‖² of a block."""
    return torch.stack([(s * g).sum(), (g * g).sum(), (s * s).sum()]).to(torch.float32)


def step_item(x: Item, const: StepConstants) -> Tensor | None:
    """One parameter's step. Returns the sums of its projection with `const.project`, else None."""
    sums = [step_block(block, const) for block in x.blocks()]
    kept = [s for s in sums if s is not None]
    return torch.stack(kept).sum(0) if kept else None


def step_block(x: Item, const: StepConstants) -> Tensor | None:
    """One block's step, in the sign phase, the SGD phase, or a phase known only on the device."""
    g = effective(x, const)
    if const.phase is True:
        move(x, g, None, sgd_velocity(x, g, const) if const.sgd_momentum else None, const)
        return None
    clean = None
    if const.project is not None and const.project.previous and x.m is not None:
        clean = sign(x.m.to(g.dtype), x, const)
    v = None
    if isinstance(const.phase, Tensor) and x.m is not None:
        old = x.m.clone()
        v = sgd_velocity(x, g, const, keep=True) if const.sgd_momentum else None
        m = advanced(dataclasses.replace(x, m=old), g, const)
        x.m.copy_(torch.where(const.phase, (x.m if v is None else v).to(m.dtype), m))
    else:
        m = advanced(x, g, const)
        store(x, m)
    step = direction(m, x, const)
    sums = None
    if const.project is not None:
        if const.project.applied:
            clean = step
        elif clean is None:
            clean = sign(m, x, const)
        sums = partial_sums(clean, g)
    move(x, g, step, v, const)
    return sums


def sgd_velocity(x: Item, g: Tensor, const: StepConstants, *, keep: bool = False) -> Tensor:
    """v ← βv + g, from v = 0 at the first SGD step (SWATS). It replaces m unless `keep` is True."""
    assert x.m is not None
    if const.first_sgd is True:
        v = g.clone()
    else:
        v = x.m.to(g.dtype) * const.beta + g
        if isinstance(const.first_sgd, Tensor):
            v = torch.where(const.first_sgd, g, v)
    if not keep:
        x.m.copy_(v)
    return v
