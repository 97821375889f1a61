"""Functions of the Triton kernels: Philox's words, the laws of dither, stochastic rounding.

The same numbers as noise.py and plain.py on the same device, bit for bit; see triton_kernel.py.
"""

import triton
import triton.language as tl
from triton.language import core
from triton.language.extra import libdevice


@triton.jit
def number(x):
    """Read a number of the step, which a kernel gets as a value or as a pointer."""
    y = core.to_tensor(x)
    if y.dtype.is_ptr():
        return tl.load(y)
    else:
        return y


@triton.jit
def philox(a, b, c, d, k0, k1):
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
def words(block, parameter, k0, k1, step, STREAM: tl.constexpr, USED: tl.constexpr):
    """The four words of each block; placeholders if they are not used."""
    if USED:
        zero = block ^ block
        return philox(block, zero + (STREAM << 16), zero + parameter, zero + step, k0, k1)
    else:
        return block, block, block, block


@triton.jit
def pick(a, b, c, d, PART: tl.constexpr):
    """Word number PART of a block."""
    if PART == 0:
        return a
    elif PART == 1:
        return b
    elif PART == 2:
        return c
    else:
        return d


@triton.jit
def centred(word):
    """noise.centred"""
    return ((word ^ 0x80000000).to(tl.int32, bitcast=True).to(tl.float32) + 0.5) * 2.3283064365386963e-10


@triton.jit
def gaussian(word):
    """noise.gaussian"""
    unit = ((word >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07
    return libdevice.erfinv(2 * unit - 1) * 1.4142135623730951


@triton.jit
def exceeds(word, x):
    """noise.exceeds"""
    size = tl.abs(x)
    t = x * x
    s = t * 9.246838123e-05
    s = (s + -1.165350761e-03) * t
    s = (s + 9.964166816e-03) * t
    s = (s + -6.648873000e-02) * t
    near = -centred(word) < (s + 3.989421990e-01) * x
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
def finite(x):
    """torch.isfinite of float32."""
    return (x.to(tl.int32, bitcast=True) & 0x7F800000) != 0x7F800000


@triton.jit
def stochastic(x, word):
    """plain.stochastic, as float32 that bfloat16 can hold."""
    bits = (x.to(tl.int32, bitcast=True) + (word >> 16).to(tl.int32, bitcast=True)) & -65536
    return tl.where(finite(x), bits.to(tl.float32, bitcast=True), x)
