"""Triton kernels for λ_k: the sums of a tile and of a tensor, and the average of r_k = λ_k/δ_k."""

import triton
import triton.language as tl
from triton.language import core  # noqa: F401 (Triton's interpreter replaces it in the module of a kernel)

from sign_ablate.optim.sign_step.triton_functions import number


@triton.jit
def keep(sums, tile, dot, square, energy, PROJECT: tl.constexpr, ENERGY: tl.constexpr):
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
        in_sign = number(phase) == 0
        use = use & in_sign
        skip = skip & in_sign
    if FROZEN:
        value = value * number(lr).to(tl.float32)
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
