"""Formulas for the bytes that a rank sends per step. `HookState.bytes_sent` counts them in a run."""

import math
from collections.abc import Iterable

from sign_ablate.distributed.means import Compressed, Mean
from sign_ablate.distributed.rule import Rule, chunk_width
from sign_ablate.distributed.two_sided import TwoSidedSign
from sign_ablate.distributed.vote import MajorityVote
from sign_ablate.distributed.wire import level_bits
from sign_ablate.optim.compressors import QSGD, Compressor, OneBit, ScaledSign, TernGrad, TopK


def bytes_per_step(rule: Rule, shapes: Iterable[tuple[int, ...]], workers: int, itemsize: int = 4) -> int:
    """Bytes that each of W ranks sends for the gradients of one step.

    Scales, indices, flags and padding of the messages are counted. DDP's broadcast of buffers is not.

    Args:
        rule: the rule.
        shapes: shapes of the parameters.
        workers: W.
        itemsize: bytes of a gradient's value; scales have at least 4.

    >>> bytes_per_step(MajorityVote(), [(1000, 1000)], workers=4)  # 3 messages of a bit per value
    375003
    """
    return (workers - 1) * sum(
        _message(rule, shape, workers, itemsize) for shape in shapes if math.prod(shape)
    )


def all_reduce_bytes(shapes: Iterable[tuple[int, ...]], workers: int, itemsize: int = 4) -> float:
    """Bytes that each of W ranks sends in a ring all-reduce: 2·itemsize·d(W−1)/W."""
    return 2 * itemsize * sum(map(math.prod, shapes)) * (workers - 1) / workers


def _message(rule: Rule, shape: tuple[int, ...], workers: int, itemsize: int) -> int:
    """Bytes of the messages about one parameter that a rank sends to each other rank, in all phases."""
    d, scale = math.prod(shape), max(4, itemsize)
    match rule:
        case Mean():
            return 2 * itemsize * chunk_width(d, workers)
        case MajorityVote(two_phase=False):
            return math.ceil(d / 8) + 1
        case MajorityVote():
            return 2 * (chunk_width(d, workers, 8) // 8 + 1)
        case TwoSidedSign():
            return 2 * (chunk_width(d, workers, 8) // 8 + scale)
        case Compressed():
            return _compressed(rule.compressor, shape, scale)
    raise TypeError(f"no formula for {type(rule).__name__}")


def _compressed(compressor: Compressor, shape: tuple[int, ...], scale: int) -> int:
    d = math.prod(shape)
    match compressor:
        case ScaledSign():
            return scale + math.ceil(d / 8)
        case OneBit():
            columns = d // shape[0] if compressor.columns and len(shape) > 1 else 1
            return 2 * scale * columns + math.ceil(d / 8)
        case QSGD():
            return scale * compressor.rows(d)[0] + math.ceil(d * level_bits(compressor.levels) / 8)
        case TernGrad():
            return scale + math.ceil(2 * d / 8)
        case TopK():
            return (scale + 4) * compressor.kept(d)
    raise TypeError(f"no formula for {type(compressor).__name__}")
