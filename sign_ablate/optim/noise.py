"""Counter-based noise: a pure function of (seed, step, parameter, coordinate).

The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), which
passes BigCrush for every key. It has no state, so the noise is the same after a resume, on every replica, in
every implementation (for-loop, foreach, fused) and on every device.

    key     = seed (64 bits)
    counter = (block mod 2³², block div 2³² + stream·2¹⁶, parameter, step)

A block gives four 32-bit words. Coordinate i takes word (i div 16) mod 4 of block 16·(i div 64) + i mod 16:
16 blocks serve 64 consecutive coordinates, and a vector of blocks is a vector of coordinates.
"""

import math

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

_MASK = (1 << 32) - 1
#: constants of Philox4x32-10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
#: coordinates that share 16 blocks
GROUP = 64
#: Uses of the noise. Streams of one parameter and step are independent.
DITHER, ZERO, ROUNDING, TIE, ADVERSARY = range(5)

_Word = int | Tensor


def philox(counter: tuple[_Word, _Word, _Word, _Word], key: tuple[int, int]) -> tuple[_Word, ...]:
    """The four output words of Philox4x32-10.

    Args:
        counter: four 32-bit words, as ints or as int64 tensors that broadcast.
        key: two 32-bit words.

    >>> [f"{word:08x}" for word in philox((0, 0, 0, 0), (0, 0))]  # Random123's known answer
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    tensors = [word for word in counter if isinstance(word, Tensor)]
    keys = round_keys(key[0] | key[1] << 32)
    if not tensors:
        a, b, c, d = counter
        for k0, k1 in keys:
            p, q = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
            a, b, c, d = (q >> 32) ^ b ^ k0, q & _MASK, (p >> 32) ^ d ^ k1, p & _MASK
        return a, b, c, d
    # Six buffers and no other temporary: allocating them took longer than the arithmetic.
    shape = torch.broadcast_shapes(*(word.shape for word in tensors))
    buffers = [torch.empty(shape, dtype=torch.int64, device=tensors[0].device) for _ in range(6)]
    for buffer, word in zip(buffers, counter, strict=False):
        buffer.copy_(word) if isinstance(word, Tensor) else buffer.fill_(word)
    x, y, z, w, p_, q_ = buffers
    for k0, k1 in keys:
        # An int64 product wraps modulo 2⁶⁴, which keeps all bits of a product of 32-bit words. The upper
        # halves of y and w are left dirty: they are cut off with those of x and z.
        torch.mul(x, MULTIPLIERS[0], out=p_)
        torch.mul(z, MULTIPLIERS[1], out=q_)
        torch.bitwise_right_shift(q_, 32, out=x).bitwise_xor_(y).bitwise_xor_(k0).bitwise_and_(_MASK)
        torch.bitwise_right_shift(p_, 32, out=z).bitwise_xor_(w).bitwise_xor_(k1).bitwise_and_(_MASK)
        y, w, p_, q_ = q_, p_, w, y
    return x, y.bitwise_and_(_MASK), z, w.bitwise_and_(_MASK)


def round_keys(seed: int) -> list[tuple[int, int]]:
    """The key of each round."""
    return [((seed + i * WEYL[0]) & _MASK, ((seed >> 32) + i * WEYL[1]) & _MASK) for i in range(ROUNDS)]


def words(
    count: int,
    seed: int,
    step: int | Tensor,
    param: int,
    device: torch.device,
    *,
    first: int = 0,
    stream: int = DITHER,
) -> Tensor:
    """Uniform random 32-bit words: int64 of shape (count,), in [0, 2³²).

    Args:
        count: number of coordinates.
        seed: the run's seed; modulo 2⁶⁴.
        step: the optimizer step, a number or an integer tensor (CUDA graphs); modulo 2³².
        param: number of the parameter.
        device: where to compute.
        first: number of the first coordinate.
        stream: use of the noise, such as DITHER.

    >>> device = torch.device("cpu")
    >>> whole = words(100, 7, 3, 0, device)
    >>> torch.equal(whole[37:], words(63, 7, 3, 0, device, first=37))
    True
    """
    start, end = first // GROUP, -(-(first + count) // GROUP)
    block = torch.arange(16 * start, 16 * end, device=device)
    counter = block & _MASK, (block >> 32) + (stream << 16), param & _MASK, step & _MASK
    four = philox(counter, (seed & _MASK, seed >> 32 & _MASK))
    out = torch.empty((end - start, 4, 16), dtype=torch.int64, device=device)
    for i, word in enumerate(four):
        out[:, i] = word.view(-1, 16)  # type: ignore[union-attr]
    return out.view(-1)[first - GROUP * start :][:count]


def centred(random: Tensor) -> Tensor:
    """Words as float32 in [−½, ½]: odd multiples of 2⁻³³, rounded, and so finest around 0."""
    return _centred(random.to(torch.int32))


def _centred(low: Tensor) -> Tensor:
    """`centred` of the words' lower halves."""
    signed = low ^ -(1 << 31)  # random − 2³¹, which int32 turns to float faster than int64
    return signed.float().add_(0.5).mul_(2.0**-32)


def unit(random: Tensor) -> Tensor:
    """Words as float32 in (0, 1): odd multiples of 2⁻²⁴.

    23 bits: with one more, the largest would round to 1 and its normal number be infinite.
    """
    return (random >> 9).float().add_(0.5).mul_(2.0**-23)


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
    """Uniform noise in (0, 1): float32 of `shape`, its coordinates numbered from `first` in C order.

    The arguments are those of `words`.
    """
    return unit(words(shape.numel(), seed, step, param, device, first=first, stream=stream)).view(shape)


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
    return gaussian(words(shape.numel(), seed, step, param, device, first=first, stream=stream)).view(shape)


def gaussian(random: Tensor) -> Tensor:
    """Words as standard normal float32: Φ⁻¹ of `unit`."""
    return torch.erfinv(2 * unit(random) - 1) * math.sqrt(2)


#: Φ(x) − ½ ≈ x·S(x²) for |x| ≤ 1, highest power first: a minimax fit (benchmarks/fit_phi.py), error 4e-8.
SHORT = (9.246838123e-05, -1.165350761e-03, 9.964166816e-03, -6.648873000e-02, 3.989421990e-01)
#: 1 − Φ(x) ≈ ½T(x)⁻¹⁶ for x ≥ 0, highest power first: Abramowitz and Stegun (1964), 26.2.19, error 1.5e-7.
#: All are positive, so that also in float32 T rises with x. step.c has the same numbers.
TAIL = (5.383e-06, 4.88906e-05, 3.80036e-05, 3.2776263e-03, 2.11410061e-02, 4.98673470e-02, 1.0)


def exceeds(random: Tensor, x: Tensor) -> Tensor:
    """Return True where x + ξ > 0 for standard normal noise ξ = Φ⁻¹(u), that is, with probability Φ(x).

    u in (0, 1) is the random word, so the sign of x + ξ needs one uniform number and no normal one. The
    probability is within 3e-7 of Φ(x), increases with x but for falls of up to 4e-8 at |x| = 1, and is 0 or 1
    for |x| > 6.5: the noise does not change the sign of a large x. There is no division. Products and sums
    are rounded one by one in the order of step.c, so that both give the same bits.

    Args:
        random: words, of the shape of x.
        x: float32.
    """
    size, low = x.abs(), random.to(torch.int32)
    square = x * x
    if (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not (torch.compiler.is_compiling() or is_functorch_wrapped_tensor(x))
        and bool((size <= 1).all())
    ):
        # nothing to wait for, and the usual case
        return _centred(low).neg_() < _horner(SHORT, square).mul_(x)
    near, tail = _both(square, size)
    inner = _centred(low).neg_() < near.mul_(x)
    positive = x > 0
    for _ in range(4):
        tail = tail * tail
    # The distance of u to the end of its range that −x is near to, in 31 bits, which step.c's int has.
    other_end = positive.to(torch.int32).sub_(1)  # 0 or all bits set, for random or its complement
    distance = ((low ^ other_end) >> 1).bitwise_and_(0x7FFFFFFF)
    flips = distance.float().add_(0.5).mul_(tail) < 2.0**30
    return torch.where(size <= 1, inner, positive ^ flips)


def _both(square: Tensor, size: Tensor) -> list[Tensor]:
    """S(x²) and T(|x|)."""
    # the compiler fuses both forms, and vmap has no rules for foreach functions
    if torch.compiler.is_compiling() or is_functorch_wrapped_tensor(size):
        return [_horner(SHORT, square), _horner(TAIL, size)]
    # One launch for the operations of both. Two more coefficients of S, which are 0, change no bit.
    at = [square, size]
    first, *middle, last = zip((0.0, 0.0, *SHORT), TAIL, strict=True)
    values = list(torch._foreach_mul(at, first))
    for c in middle:
        torch._foreach_add_(values, c)
        torch._foreach_mul_(values, at)
    torch._foreach_add_(values, last)
    return values


def _horner(coefficients: tuple[float, ...], t: Tensor) -> Tensor:
    value = t * coefficients[0]
    for c in coefficients[1:-1]:
        value.add_(c).mul_(t)
    return value.add_(coefficients[-1])
