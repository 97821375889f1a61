"""SignSGD's step as one Triton kernel, which reads parameter, gradient and momentum once.

Same numbers as plain.py on the same device, bit for bit: launched with `enable_fp_fusion=False`, so that a
product and a sum round as two torch operations do, with an explicit fma where CUDA's torch.lerp and
torch.sub(alpha=) have one. Only the sums for λ_k are added in another order.

A program steps TILE consecutive coordinates of one tensor. With noise it takes them in four parts: part w
are the coordinates that use word w of their Philox block (see noise.py), so that all four words are used and
no thread needs another's.
"""

import triton
import triton.language as tl
from triton.language import core  # noqa: F401 (Triton's interpreter replaces it in the module of a kernel)

from sign_ablate.optim.sign_step.triton_functions import (
    centred,
    exceeds,
    gaussian,
    number,
    pick,
    stochastic,
    words,
)
from sign_ablate.optim.sign_step.triton_sums import keep

GROUPS = 32
#: coordinates of a program: groups of noise.GROUP
TILE = 64 * GROUPS
#: columns of the table of tensors
COLUMNS = 7

MOMENTUM = {name: i for i, name in enumerate(("none", "ema", "ema, weight from ½", "heavy ball"))}
ZERO = {name: i for i, name in enumerate(("zero", "plus", "random"))}
LAW = {
    key: i
    for i, key in enumerate(
        (
            None,
            ("pre", "gaussian"),
            ("pre", "uniform"),
            ("pre", "subtractive"),
            ("post", "gaussian"),
            ("post", "uniform"),
        )
    )
}
#: values of PHASE and FIRST
NO, YES, ON_DEVICE = 0, 1, 2
PROJECT = {name: i for i, name in enumerate((None, "clean", "applied", "previous"))}


@triton.jit
def _torch_sign(x):
    """sign(x) with NaN where x is not finite."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)) + 0.0 * x


@triton.jit
def _sign(m, coin, ZERO: tl.constexpr):
    """plain.sign"""
    if ZERO == 1:
        return tl.where(m >= 0, 1.0, -1.0) + 0.0 * m
    elif ZERO == 2:
        tossed = tl.where(coin < 0x80000000, 1.0, -1.0)
        return tl.where(m == 0, tossed, _torch_sign(m))
    else:
        return _torch_sign(m)


@triton.jit
def _direction(m, word, coin, sigma, amplitude, ZERO: tl.constexpr, LAW: tl.constexpr, CHECK: tl.constexpr):
    """plain.direction; `amplitude` is 1/σ of Gaussian pre-sign dither, A of uniform, else σ."""
    if LAW == 0:
        return _sign(m, coin, ZERO)
    elif LAW == 4:
        return _sign(m, coin, ZERO) + gaussian(word) * amplitude
    elif LAW == 5:
        return _sign(m, coin, ZERO) + (centred(word) * 3.4641016151377544) * amplitude
    else:
        if LAW == 1:
            s = tl.where(exceeds(word, m * amplitude), 1.0, -1.0) + 0.0 * m
        else:
            v = 2 * centred(word)
            s = _torch_sign(m + v * amplitude)
            if LAW == 3:
                s = s - v
        if CHECK:  # σ relative to an rms of 0
            s = tl.where(sigma == 0, _sign(m, coin, ZERO), s)
        return s


@triton.jit
def _advanced(g, old, weight, beta, MOMENTUM: tl.constexpr):
    """plain.advanced; as in torch.lerp, `weight` is the gradient's, and from ½ on the old momentum's."""
    if MOMENTUM == 0:
        return g
    elif MOMENTUM == 1:
        return tl.fma(g - old, weight, old)
    elif MOMENTUM == 2:
        return tl.fma(old - g, weight, g)
    else:
        return old * beta + g


@triton.jit
def _sgd(g, old, beta, first, FIRST: tl.constexpr):
    """Momentum of the SGD phase, which starts with the gradient."""
    if FIRST == 1:
        return g
    elif FIRST == 2:
        return tl.where(first, g, old * beta + g)
    else:
        return old * beta + g


@triton.jit
def _projected(s, m, old, coin, ZERO: tl.constexpr, LAW: tl.constexpr, PROJECT: tl.constexpr):
    """Direction that λ_k projects: clean sign(m), the step's, or the sign of the old momentum."""
    if PROJECT == 1 and LAW != 0:
        return _sign(m, coin, ZERO)
    elif PROJECT == 3:
        return _sign(old, coin, ZERO)
    else:
        return s


@triton.jit
def _tile(
    p_ptr, g_ptr, m_ptr, base, n, parameter, numbers, noise,
    MOMENTUM: tl.constexpr, ZERO: tl.constexpr, LAW: tl.constexpr, CHECK: tl.constexpr,
    PHASE: tl.constexpr, FIRST: tl.constexpr, SGD_MOMENTUM: tl.constexpr,
    SCALED: tl.constexpr, COUPLED: tl.constexpr, TWICE: tl.constexpr, STOCHASTIC: tl.constexpr,
    PROJECT: tl.constexpr, ENERGY: tl.constexpr, GROUPS: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Step the coordinates from `base`. Returns the sums of their projection."""
    lr, weight, beta, decay, coupled, factor, sigma, amplitude, lam, phase, first = numbers
    k0, k1, step = noise
    NOISY: tl.constexpr = LAW != 0 or ZERO == 2 or STOCHASTIC
    WIDTH: tl.constexpr = 16 if NOISY else 64
    row = tl.arange(0, GROUPS)[:, None]
    lane = tl.arange(0, WIDTH)[None, :]
    block = ((base // 64 + row) * 16 + lane).to(tl.uint32)
    d0, d1, d2, d3 = words(block, parameter, k0, k1, step, 0, LAW != 0)
    z0, z1, z2, z3 = words(block, parameter, k0, k1, step, 1, ZERO == 2)
    r0, r1, r2, r3 = words(block, parameter, k0, k1, step, 2, STOCHASTIC)
    dot = tl.zeros((GROUPS, WIDTH), tl.float32)
    square = tl.zeros((GROUPS, WIDTH), tl.float32)
    energy = tl.zeros((GROUPS, WIDTH), tl.float32)
    for PART in tl.static_range(64 // WIDTH):
        at = base + row * 64 + PART * WIDTH + lane
        inside = at < n
        mask = inside if MASKED else None
        word = pick(d0, d1, d2, d3, PART)
        coin = pick(z0, z1, z2, z3, PART)
        raw = tl.load(p_ptr + at, mask=mask)
        g = tl.load(g_ptr + at, mask=mask).to(tl.float32)
        if SCALED:
            g = g * factor
        if COUPLED:
            g = (raw.to(tl.float32) * coupled).to(raw.dtype).to(tl.float32) + g
        old = g
        if MOMENTUM != 0:
            old = tl.load(m_ptr + at, mask=mask).to(tl.float32)
        m = _advanced(g, old, weight, beta, MOMENTUM)
        x = raw.to(tl.float32) * decay
        sgd = g
        if PHASE != 0 and SGD_MOMENTUM:
            sgd = _sgd(g, old, beta, first, FIRST)
            if PHASE == 1:
                m = sgd
        if PHASE == 1:
            x = x - sgd * lam
        else:
            s = _direction(m, word, coin, sigma, amplitude, ZERO, LAW, CHECK)
            if PROJECT != 0:
                clean = _projected(s, m, old, coin, ZERO, LAW, PROJECT)
                if MASKED:
                    clean = tl.where(inside, clean, 0.0)
                    dot += tl.where(inside, clean * g, 0.0)
                    square += tl.where(inside, g * g, 0.0)
                else:
                    dot += clean * g
                    square += g * g
                if ENERGY:
                    energy += clean * clean
            if PHASE == 2:
                x = x - tl.where(phase, sgd * lam, s * lr)
                if MOMENTUM != 0:
                    m = tl.where(phase, sgd if SGD_MOMENTUM else old, m)
            elif TWICE:
                x = x - s * lr
            else:
                x = tl.fma(s, -lr, x)
        if MOMENTUM != 0 and (PHASE != 1 or SGD_MOMENTUM):
            tl.store(m_ptr + at, m.to(m_ptr.dtype.element_ty), mask=mask)
        if STOCHASTIC:
            x = stochastic(x, pick(r0, r1, r2, r3, PART))
        tl.store(p_ptr + at, x.to(p_ptr.dtype.element_ty), mask=mask)
    return dot, square, energy


@triton.jit(do_not_specialize=("key_low", "key_high", "step"))
def sign_step(
    table, owners, sums, lr, weight, beta, decay, coupled, factor, sigma, amplitude, lam, phase, first,
    key_low, key_high, step,
    P: tl.constexpr, G: tl.constexpr, M: tl.constexpr,
    MOMENTUM: tl.constexpr, ZERO: tl.constexpr, LAW: tl.constexpr, CHECK: tl.constexpr,
    PHASE: tl.constexpr, FIRST: tl.constexpr, SGD_MOMENTUM: tl.constexpr,
    SCALED: tl.constexpr, COUPLED: tl.constexpr, TWICE: tl.constexpr, STOCHASTIC: tl.constexpr,
    PROJECT: tl.constexpr, ENERGY: tl.constexpr, LAM_EACH: tl.constexpr, ALIGNED: tl.constexpr,
    GROUPS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One tile's step.

    `owners` has each tile's row of `table`: pointers, size, parameter, its number in the group, first tile.
    """
    tile = tl.program_id(0)
    entry = table + tl.load(owners + tile) * COLUMNS
    p_ptr = tl.load(entry).to(tl.pointer_type(P))
    g_ptr = tl.load(entry + 1).to(tl.pointer_type(G))
    m_ptr = tl.load(entry + 2).to(tl.pointer_type(M))
    if ALIGNED:
        p_ptr = tl.multiple_of(p_ptr, 16)
        g_ptr = tl.multiple_of(g_ptr, 16)
        m_ptr = tl.multiple_of(m_ptr, 16)
    n = tl.load(entry + 3).to(tl.int32)
    parameter = tl.load(entry + 4).to(tl.uint32)
    base = (tile - tl.load(entry + 6).to(tl.int32)) * (64 * GROUPS)
    if LAM_EACH:
        lam = lam + tl.load(entry + 5)
    numbers = (
        number(lr).to(tl.float32), weight, beta, number(decay).to(tl.float32), coupled, factor,
        number(sigma).to(tl.float32), number(amplitude).to(tl.float32), number(lam).to(tl.float32),
        number(phase) != 0, number(first) != 0,
    )  # fmt: skip
    noise = (key_low.to(tl.uint32), key_high.to(tl.uint32), number(step).to(tl.uint32))
    if base + 64 * GROUPS <= n:
        dot, square, energy = _tile(
            p_ptr, g_ptr, m_ptr, base, n, parameter, numbers, noise, MOMENTUM, ZERO, LAW, CHECK, PHASE, FIRST,
            SGD_MOMENTUM, SCALED, COUPLED, TWICE, STOCHASTIC, PROJECT, ENERGY, GROUPS, False,
        )  # fmt: skip
        keep(sums, tile, dot, square, energy, PROJECT, ENERGY)
    else:
        dot, square, energy = _tile(
            p_ptr, g_ptr, m_ptr, base, n, parameter, numbers, noise, MOMENTUM, ZERO, LAW, CHECK, PHASE, FIRST,
            SGD_MOMENTUM, SCALED, COUPLED, TWICE, STOCHASTIC, PROJECT, ENERGY, GROUPS, True,
        )  # fmt: skip
        keep(sums, tile, dot, square, energy, PROJECT, ENERGY)
