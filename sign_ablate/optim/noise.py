"""Counter-based dither noise: a pure function of (seed, step, parameter, coordinate).

No generator state: the noise is the same after a resume, on every replica, and on every device.
"""

import math

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


def _splitmix64(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def keys(seed: int, step: int, param: int) -> tuple[int, int]:
    """Two signed 32-bit keys for one parameter at one step."""
    x = _splitmix64(_splitmix64(_splitmix64(seed & _MASK64) ^ step) ^ param)
    return _signed(x & 0xFFFFFFFF), _signed(x >> 32)


def _signed(x: int) -> int:
    return x - (1 << 32) if x >= 1 << 31 else x


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int32, which torch shifts arithmetically."""
    return (x >> bits) & ((1 << (32 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """A bijective 32-bit finaliser with low bias (lowbias32, C. Wellons's hash-prospector)."""
    x = (x ^ _shift(x, 16)) * 0x21F0AAAD
    x = (x ^ _shift(x, 15)) * 0x735A2D97
    return x ^ _shift(x, 15)


def uniform(shape: torch.Size, seed: int, step: int, param: int, device: torch.device) -> Tensor:
    """Uniform noise in (0, 1), float32 of `shape`: odd multiples of 2⁻²⁴.

    23 bits: with one more, the largest would round to 1 and its normal number be infinite.

    The second key enters between the two rounds, so that the streams of two steps are not shifts of
    one another.
    """
    low, high = keys(seed, step, param)
    counter = torch.arange(shape.numel(), dtype=torch.int32, device=device)
    bits = _mix(_mix(counter ^ low) + high)
    return ((_shift(bits, 9).float() + 0.5) * 2.0**-23).view(shape)


def normal(shape: torch.Size, seed: int, step: int, param: int, device: torch.device) -> Tensor:
    """Standard normal noise: Φ⁻¹ of `uniform`, so |ξ| < 5.3."""
    u = uniform(shape, seed, step, param, device)
    return torch.erfinv(2 * u - 1) * math.sqrt(2)
