"""SignSGD's step as one Triton kernel: parameter, gradient and momentum once through memory.

Same numbers as plain.py on the same device, bit for bit: launched with `enable_fp_fusion=False`, so that a
product and a sum round as two torch operations do, with an explicit fma where CUDA's torch.lerp and
torch.sub(alpha=) have one. Only the sums for λ_k are added in another order.

A program steps TILE consecutive coordinates of one tensor. With noise it takes them in four parts: part w
are the coordinates that use word w of their Philox block (see noise.py), so that all four words are used and
no thread needs another's.
"""

import triton
import triton.language as tl
from triton.language import core
from triton.language.extra import libdevice

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
#: of the phase, and of the first SGD step
NO, YES, ON_DEVICE = 0, 1, 2
PROJECT = {name: i for i, name in enumerate((None, "clean", "applied", "previous"))}


@triton.jit
def _number(x):
    """A number of the step: a kernel argument, or where a pointer to it is one."""
    y = core.to_tensor(x)
    if y.dtype.is_ptr():
        return tl.load(y)
    else:
        return y


@triton.jit
def _philox(a, b, c, d, k0, k1):
    """noise.philox: Philox4x32-10 on uint32."""
    for _ in tl.static_range(10):
        p = a.to(tl.uint64) * 0xD2511F53
        q = c.to(tl.uint64) * 0xCD9E8D57
        a = (q >> 32).to(tl.uint32) ^ b ^ k0
        c = (p >> 32).to(tl.uint32) ^ d ^ k1
        b = q.to(tl.uint32)
        d = p.to(tl.uint32)
        k0 = (k0.to(tl.uint64) + 0x9E3779B9).to(tl.uint32)
        k1 = (k1.to(tl.uint64) + 0xBB67AE85).to(tl.uint32)
    return a, b, c, d


@triton.jit
def _words(block, parameter, k0, k1, step, STREAM: tl.constexpr, USED: tl.constexpr):
    """The four words of each block; where they are not used, the blocks stand for them."""
    if USED:
        zero = block ^ block
        return _philox(block, zero + (STREAM << 16), zero + parameter, zero + step, k0, k1)
    else:
        return block, block, block, block


@triton.jit
def _pick(a, b, c, d, PART: tl.constexpr):
    if PART == 0:
        return a
    elif PART == 1:
        return b
    elif PART == 2:
        return c
    else:
        return d


@triton.jit
def _centred(word):
    """noise.centred"""
    return ((word ^ 0x80000000).to(tl.int32, bitcast=True).to(tl.float32) + 0.5) * 2.3283064365386963e-10


@triton.jit
def _gaussian(word):
    """noise.gaussian"""
    unit = ((word >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07
    return libdevice.erfinv(2 * unit - 1) * 1.4142135623730951


@triton.jit
def _exceeds(word, x):
    """noise.exceeds"""
    size = tl.abs(x)
    t = x * x
    s = t * 9.246838123e-05
    s = (s + -1.165350761e-03) * t
    s = (s + 9.964166816e-03) * t
    s = (s + -6.648873000e-02) * t
    near = -_centred(word) < (s + 3.989421990e-01) * x
    tail = size * 5.383e-06
    tail = (tail + 4.88906e-05) * size
    tail = (tail + 3.80036e-05) * size
    tail = (tail + 3.2776263e-03) * size
    tail = (tail + 2.11410061e-02) * size
    tail = (tail + 4.98673470e-02) * size
    tail = tail + 1.0
    tail = tail * tail
    tail = tail * tail
    tail = tail * tail
    tail = tail * tail
    positive = x > 0
    distance = tl.where(positive, word, word ^ 0xFFFFFFFF) >> 1
    flips = (distance.to(tl.int32, bitcast=True).to(tl.float32) + 0.5) * tail < 1073741824.0
    return tl.where(size <= 1, near, positive ^ flips)


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
        return _sign(m, coin, ZERO) + _gaussian(word) * amplitude
    elif LAW == 5:
        return _sign(m, coin, ZERO) + (_centred(word) * 3.4641016151377544) * amplitude
    else:
        if LAW == 1:
            s = tl.where(_exceeds(word, m * amplitude), 1.0, -1.0) + 0.0 * m
        else:
            v = 2 * _centred(word)
            s = _torch_sign(m + v * amplitude)
            if LAW == 3:
                s = s - v
        if CHECK:  # σ relative to an rms of 0
            s = tl.where(sigma == 0, _sign(m, coin, ZERO), s)
        return s


@triton.jit
def _finite(x):
    return (x.to(tl.int32, bitcast=True) & 0x7F800000) != 0x7F800000


@triton.jit
def _stochastic(x, word):
    """plain.stochastic, as float32 that bfloat16 can hold."""
    bits = (x.to(tl.int32, bitcast=True) + (word >> 16).to(tl.int32, bitcast=True)) & -65536
    return tl.where(_finite(x), bits.to(tl.float32, bitcast=True), x)


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
    d0, d1, d2, d3 = _words(block, parameter, k0, k1, step, 0, LAW != 0)
    z0, z1, z2, z3 = _words(block, parameter, k0, k1, step, 1, ZERO == 2)
    r0, r1, r2, r3 = _words(block, parameter, k0, k1, step, 2, STOCHASTIC)
    dot = tl.zeros((GROUPS, WIDTH), tl.float32)
    square = tl.zeros((GROUPS, WIDTH), tl.float32)
    energy = tl.zeros((GROUPS, WIDTH), tl.float32)
    for PART in tl.static_range(64 // WIDTH):
        at = base + row * 64 + PART * WIDTH + lane
        inside = at < n
        mask = inside if MASKED else None
        word = _pick(d0, d1, d2, d3, PART)
        coin = _pick(z0, z1, z2, z3, PART)
        raw = tl.load(p_ptr + at, mask=mask)
        g = tl.load(g_ptr + at, mask=mask).to(tl.float32)
        if SCALED:
            g = g * factor
        if COUPLED:
            g = (raw.to(tl.float32) * coupled).to(raw.dtype).to(tl.float32) + g
        m = g
        old = g
        if MOMENTUM != 0:
            old = tl.load(m_ptr + at, mask=mask).to(tl.float32)
            if MOMENTUM == 1:
                m = tl.fma(g - old, weight, old)
            elif (
                MOMENTUM == 2
            ):  # torch.lerp's formula for weights from ½; here `weight` is the old momentum's
                m = tl.fma(old - g, weight, g)
            else:
                m = old * beta + g
        x = raw.to(tl.float32) * decay
        sgd = g
        if PHASE != 0 and SGD_MOMENTUM:
            sgd = old * beta + g
            if FIRST == 1:
                sgd = g
            elif FIRST == 2:
                sgd = tl.where(first, g, sgd)
            if PHASE == 1:
                m = sgd
        if PHASE == 1:
            x = x - sgd * lam
        else:
            s = _direction(m, word, coin, sigma, amplitude, ZERO, LAW, CHECK)
            if PROJECT != 0:
                clean = s
                if PROJECT == 1 and LAW != 0:
                    clean = _sign(m, coin, ZERO)
                elif PROJECT == 3:
                    clean = _sign(old, coin, ZERO)
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
            x = _stochastic(x, _pick(r0, r1, r2, r3, PART))
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
        _number(lr).to(tl.float32), weight, beta, _number(decay).to(tl.float32), coupled, factor,
        _number(sigma).to(tl.float32), _number(amplitude).to(tl.float32), _number(lam).to(tl.float32),
        _number(phase) != 0, _number(first) != 0,
    )  # fmt: skip
    noise = (key_low.to(tl.uint32), key_high.to(tl.uint32), _number(step).to(tl.uint32))
    if base + 64 * GROUPS <= n:
        dot, square, energy = _tile(
            p_ptr, g_ptr, m_ptr, base, n, parameter, numbers, noise, MOMENTUM, ZERO, LAW, CHECK, PHASE, FIRST,
            SGD_MOMENTUM, SCALED, COUPLED, TWICE, STOCHASTIC, PROJECT, ENERGY, GROUPS, False,
        )  # fmt: skip
        _keep(sums, tile, dot, square, energy, PROJECT, ENERGY)
    else:
        dot, square, energy = _tile(
            p_ptr, g_ptr, m_ptr, base, n, parameter, numbers, noise, MOMENTUM, ZERO, LAW, CHECK, PHASE, FIRST,
            SGD_MOMENTUM, SCALED, COUPLED, TWICE, STOCHASTIC, PROJECT, ENERGY, GROUPS, True,
        )  # fmt: skip
        _keep(sums, tile, dot, square, energy, PROJECT, ENERGY)


@triton.jit
def _keep(sums, tile, dot, square, energy, PROJECT: tl.constexpr, ENERGY: tl.constexpr):
    """Store the sums of a tile."""
    if PROJECT != 0:
        tl.store(sums + 3 * tile, tl.sum(tl.sum(dot, 1), 0))
        tl.store(sums + 3 * tile + 1, tl.sum(tl.sum(square, 1), 0))
        if ENERGY:
            tl.store(sums + 3 * tile + 2, tl.sum(tl.sum(energy, 1), 0))


@triton.jit
def sum_tiles(
    table, partial, total, tensors, tiles, ENERGY: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr
):
    """The sums of one tensor from those of its tiles, always in the same order."""
    tensor = tl.program_id(0)
    start = tl.load(table + tensor * COLUMNS + 6).to(tl.int32)
    end = tiles
    if tensor + 1 < tensors:
        end = tl.load(table + (tensor + 1) * COLUMNS + 6).to(tl.int32)
    dot = tl.zeros((BLOCK,), tl.float32)
    square = tl.zeros((BLOCK,), tl.float32)
    energy = tl.zeros((BLOCK,), tl.float32)
    for first in range(start, end, BLOCK):
        at = first + tl.arange(0, BLOCK)
        dot += tl.load(partial + 3 * at, mask=at < end, other=0.0)
        square += tl.load(partial + 3 * at + 1, mask=at < end, other=0.0)
        if ENERGY:
            energy += tl.load(partial + 3 * at + 2, mask=at < end, other=0.0)
    tl.store(total + 3 * tensor, tl.sum(dot, 0))
    tl.store(total + 3 * tensor + 1, tl.sum(square, 0))
    tl.store(total + 3 * tensor + 2, tl.sum(energy, 0))


@triton.jit(do_not_specialize=("rows",))
def observe(
    sums, ema, weight, last, skipped, useful, rows, eps, share, gain, lr, phase,
    SWATS: tl.constexpr, FROZEN: tl.constexpr, SMALL: tl.constexpr, PHASE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """projection.ratio and projection.observe: average r_k = λ_k/δ_k of each row of the sums."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < rows
    size = tl.abs(tl.load(sums + 3 * at, mask=mask, other=0.0))
    square = tl.load(sums + 3 * at + 1, mask=mask, other=0.0)
    if SWATS:
        value = tl.div_rn(tl.load(sums + 3 * at + 2, mask=mask, other=0.0), size + eps)
    else:
        value = tl.div_rn(size, square + eps)
    infinite = float("inf")
    use = (size > 0) & (square > 0) & (size < infinite) & (square < infinite) & (value < infinite)
    tl.store(useful + at, use.to(tl.uint8), mask=mask)
    skip = use == 0
    if PHASE:  # in the SGD phase nothing is averaged
        in_sign = _number(phase) == 0
        use = use & in_sign
        skip = skip & in_sign
    if FROZEN:
        value = value * _number(lr).to(tl.float32)
    old = tl.load(ema + at, mask=mask, other=0.0)
    seen = tl.load(weight + at, mask=mask, other=0.0)
    if SMALL:
        average = tl.fma(value - old, share, old)
    else:
        average = tl.fma(old - value, share, value)
    tl.store(ema + at, average, mask=mask & use)
    tl.store(weight + at, seen + (1 - seen) * gain, mask=mask & use)
    tl.store(last + at, value, mask=mask & use)
    count = tl.load(skipped + at, mask=mask, other=0)
    tl.store(skipped + at, count + skip.to(tl.int32), mask=mask)
