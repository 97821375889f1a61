"""Counter-based noise: a pure function of (seed, step, parameter, coordinate).

No generator state: the noise is the same after a resume, on every replica, in every implementation
(for-loop, foreach, fused) and on every device.
"""

import math

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
_GOLDEN, _MUL1, _MUL2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
#: What the noise is for. Streams of one parameter and step are independent.
DITHER, ZERO, ROUNDING = 0, 1, 2


def _signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def _splitmix64(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x + _GOLDEN) & _MASK64
    x = ((x ^ (x >> 30)) * _MUL1) & _MASK64
    x = ((x ^ (x >> 27)) * _MUL2) & _MASK64
    return x ^ (x >> 31)


def _splitmix64_tensor(x: Tensor) -> Tensor:
    """`_splitmix64` on int64, whose products wrap and whose shifts are arithmetic."""
    x = x + _signed(_GOLDEN, 64)
    x = (x ^ _shift(x, 30, 64)) * _signed(_MUL1, 64)
    x = (x ^ _shift(x, 27, 64)) * _signed(_MUL2, 64)
    return x ^ _shift(x, 31, 64)


def _shift(x: Tensor, count: int, bits: int = 32) -> Tensor:
    """Logical right shift of a signed integer tensor."""
    return (x >> count).bitwise_and_((1 << (bits - count)) - 1)


def keys(
    seed: int, step: int | Tensor, param: int, stream: int = DITHER
) -> tuple[int | Tensor, int | Tensor]:
    """Two signed 32-bit keys for one parameter at one step; int32 tensors where the step is a tensor."""
    base = _splitmix64(_splitmix64(seed & _MASK64) ^ (stream << 32 | param))
    if isinstance(step, Tensor):
        mixed = _splitmix64_tensor(step.to(torch.int64) ^ _signed(base, 64))
        return mixed.to(torch.int32), (mixed >> 32).to(torch.int32)
    x = _splitmix64(base ^ step)
    return _signed(x, 32), _signed(x >> 32, 32)


def uniform(
    shape: torch.Size,
    seed: int,
    step: int | Tensor,
    param: int,
    device: torch.device,
    *,
    first: int = 0,
    stream: int = DITHER,
) -> Tensor:
    """Uniform noise in (0, 1): float32 of `shape`, odd multiples of 2⁻²⁴.

    23 bits: with one more, the largest would round to 1 and its normal number be infinite.
    One round of lowbias32 (C. Wellons's hash-prospector), a bijective 32-bit finaliser, on the
    coordinate's number. The second key enters between its two products, so that the streams of two
    steps are not permutations of one another.

    Args:
        shape: shape of the result, its coordinates numbered from `first` in C order.
        seed: the run's seed.
        step: the optimizer step, a number or an integer tensor (CUDA graphs).
        param: number of the parameter.
        device: where to compute.
        first: number of the first coordinate.
        stream: what the noise is for.

    >>> device = torch.device("cpu")
    >>> whole = uniform(torch.Size([4]), 7, 3, 0, device)
    >>> torch.equal(whole[2:], uniform(torch.Size([2]), 7, 3, 0, device, first=2))
    True
    """
    low, high = keys(seed, step, param, stream)
    x = torch.arange(shape.numel(), dtype=torch.int32, device=device)
    if first:
        x += _signed(first, 32)
    x ^= low
    x ^= _shift(x, 16)
    x *= 0x21F0AAAD
    x ^= high
    x ^= _shift(x, 15)
    x *= 0x735A2D97
    x ^= _shift(x, 15)
    return _shift(x, 9).float().add_(0.5).mul_(2.0**-23).view(shape)


def normal(
    shape: torch.Size,
    seed: int,
    step: int | Tensor,
    param: int,
    device: torch.device,
    *,
    first: int = 0,
    stream: int = DITHER,
) -> Tensor:
    """Standard normal noise: Φ⁻¹ of `uniform`, so |ξ| < 5.3."""
    u = uniform(shape, seed, step, param, device, first=first, stream=stream)
    return torch.erfinv(2 * u - 1) * math.sqrt(2)


#: Φ(x) − ½ = x·S(x²) for |x| ≤ 1, and x·P(x²)/Q(x²) for |x| ≤ 5.42, highest power first. Minimax
#: fits (benchmarks/fit_phi.py); with float32 rounding |error| < 3e-7. step.c has the same numbers.
SHORT = (9.246838123e-05, -1.165350761e-03, 9.964166816e-03, -6.648873000e-02, 3.989421990e-01)
LONG_P = (6.871798718e-06, 3.799339306e-04, 5.951127314e-03, 5.551174382e-02, 3.989416899e-01)
LONG_Q = (5.708241377e-07, 1.363521352e-04, 3.086329294e-03, 4.090178098e-02, 3.058045333e-01, 1.0)
LIMIT = 5.42


def exceeds(u: Tensor, x: Tensor) -> Tensor:
    """Whether x + ξ > 0 for the normal ξ = Φ⁻¹(u): exactly where ½ − u < Φ(x) − ½.

    The sign of x + ξ costs one uniform number and no normal one. No division: Q > 0. The products and
    sums are rounded one by one, in the order of step.c, which so decides alike bit for bit.
    """
    centred = 0.5 - u
    size = x.abs()
    near = centred < _horner(SHORT, x * x).mul_(x)
    if (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and bool((size <= 1).all())
    ):
        return near  # nothing to wait for, and the usual case
    far = x.clamp(-LIMIT, LIMIT)
    t = far * far
    return torch.where(size <= 1, near, centred * _horner(LONG_Q, t) < far * _horner(LONG_P, t))


def _horner(coefficients: tuple[float, ...], t: Tensor) -> Tensor:
    value = t * coefficients[0]
    for c in coefficients[1:-1]:
        value.add_(c).mul_(t)
    return value.add_(coefficients[-1])
