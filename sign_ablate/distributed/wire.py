"""Packing of compressors' messages into bytes, and back.

A message has no header: its length follows from the compressor and the shape, which are equal on all ranks.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from sign_ablate.optim.compressors import QSGD, Compressor, Message, OneBit, ScaledSign, TernGrad, TopK


def pack_bits(bits: Tensor) -> Tensor:
    """Pack a bool tensor along its last dimension: (…, n) → uint8 of (…, ⌈n/8⌉), the first bit lowest.

    >>> pack_bits(torch.tensor([True, False, True])).tolist()
    [5]
    """
    octets = pad(bits.to(torch.uint8), (0, -bits.shape[-1] % 8)).unflatten(-1, (-1, 8))
    return (octets << _places(octets)).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Unpack the first `count` bits of each row: uint8 of (…, bytes) → uint8 of (…, count), 0 or 1."""
    return (packed.unsqueeze(-1) >> _places(packed) & 1).flatten(-2)[..., :count]


def pack_codes(codes: Tensor, width: int) -> Tensor:
    """Pack integers in [0, 2**width) into `width` bits each: (n,) → uint8 of (⌈n·width/8⌉,).

    Args:
        codes: the integers, of a dtype with at least `width` bits; uint8 is the fastest. The first is lowest.
        width: bits of an integer, from 1 on.

    >>> pack_codes(torch.tensor([1, 2, 3], dtype=torch.uint8), 4).tolist()
    [33, 3]
    """
    octets = pad(codes, (0, -len(codes) % 8)).view(-1, 8)
    packed = torch.zeros(len(octets), width, dtype=torch.uint8, device=codes.device)
    for i, byte, shift in _overlaps(width):
        part = octets[:, i] >> shift if shift > 0 else octets[:, i] << -shift
        packed[:, byte] |= part.to(torch.uint8)  # keeps the lowest 8 bits
    return packed.view(-1)[: -(-len(codes) * width // 8)]


def unpack_codes(packed: Tensor, count: int, width: int) -> Tensor:
    """Unpack the first `count` integers of `pack_codes`: uint8 of (count,), or int64 if `width` > 8."""
    rows = pad(packed, (0, -len(packed) % width)).view(-1, width)
    dtype = torch.uint8 if width <= 8 else torch.int64
    octets = torch.zeros(len(rows), 8, dtype=dtype, device=packed.device)
    for i, byte, shift in _overlaps(width):
        part = rows[:, byte].to(dtype)
        octets[:, i] |= part << shift if shift > 0 else part >> -shift
    return octets.view(-1)[:count].bitwise_and_(2**width - 1)


def _overlaps(width: int) -> Iterator[tuple[int, int, int]]:
    """Code (of eight), byte that has some of its bits, and position of the byte's first bit in the code.

    Eight codes fill `width` bytes, so packing is a few operations on whole columns.
    """
    for i in range(8):
        first = i * width
        for byte in range(first // 8, (first + width - 1) // 8 + 1):
            yield i, byte, 8 * byte - first


def to_bytes(values: Tensor) -> Tensor:
    """Return the memory of `values` in C order: uint8 of (numel · itemsize,)."""
    return values.reshape(-1).contiguous().view(torch.uint8)


def from_bytes(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values that `to_bytes` packed: (n,) of `dtype`."""
    return packed.clone().view(dtype)  # a copy, since the bytes need not be aligned


def level_bits(levels: int) -> int:
    """Bits of a coordinate of QSGD: its sign and one of levels + 1 magnitudes."""
    return 1 + math.ceil(math.log2(levels + 1))


def pack(compressor: Compressor, message: Message) -> Tensor:
    """Pack a message into bytes: uint8 of (bytes,).

    Signs take one bit, in which a zero is sent as +1. The scale of a message that is not finite is not finite
    either, so that the receiver detects it.

    Raises:
        TypeError: for a compressor without a format.
    """
    match compressor:
        case ScaledSign():
            signs, scale = message.parts
            return torch.cat([to_bytes(scale), pack_bits(_nonnegative(signs))])
        case OneBit():
            negative, below, above = message.parts
            return torch.cat([to_bytes(below), to_bytes(above), pack_bits(negative.flatten())])
        case QSGD():
            signs, norm, level = (part.reshape(-1) for part in message.parts)
            count = message.shape.numel()
            bits = level_bits(compressor.levels)
            codes = level[:count].nan_to_num(0).to(torch.uint8 if bits <= 8 else torch.int64)
            codes.bitwise_left_shift_(1).bitwise_or_(_nonnegative(signs[:count]))
            return torch.cat([to_bytes(norm), pack_codes(codes, bits)])
        case TernGrad():
            signs, scale, kept = message.parts
            codes = kept.flatten().to(torch.uint8) << 1 | _nonnegative(signs)
            return torch.cat([to_bytes(scale), pack_codes(codes, 2)])
        case TopK():
            kept, values = message.parts
            return torch.cat([to_bytes(values), to_bytes(kept.int())])
    raise TypeError(f"no format for messages of {type(compressor).__name__}")


def unpack(compressor: Compressor, packed: Tensor, shape: torch.Size, dtype: torch.dtype) -> Message:
    """Unpack a message of a tensor of `shape` and `dtype` (float32 or float64) that `pack` packed.

    Raises:
        TypeError: for a compressor without a format.
    """
    count, size = shape.numel(), dtype.itemsize
    match compressor:
        case ScaledSign():
            scale, signs = from_bytes(packed[:size], dtype)[0], _signs(unpack_bits(packed[size:], count))
            return Message((signs.view(shape), scale), shape, dtype)
        case OneBit():
            columns = count // shape[0] if compressor.columns and len(shape) > 1 else 1
            below, above = from_bytes(packed[: 2 * size * columns], dtype).chunk(2)
            negative = unpack_bits(packed[2 * size * columns :], count).bool()
            return Message((negative.view(-1, columns), below, above), shape, dtype)
        case QSGD():
            rows, width = compressor.rows(count)
            codes = unpack_codes(packed[size * rows :], count, level_bits(compressor.levels))
            codes = pad(codes, (0, rows * width - count)).view(rows, width)
            norm = from_bytes(packed[: size * rows], dtype).unsqueeze(1)
            return Message((_signs(codes & 1), norm, (codes >> 1).to(dtype)), shape, dtype)
        case TernGrad():
            codes = unpack_codes(packed[size:], count, 2).view(shape)
            scale = from_bytes(packed[:size], dtype)[0]
            return Message((_signs(codes & 1), scale, codes >> 1), shape, dtype)
        case TopK():
            values, kept = packed.split([compressor.kept(count) * n for n in (size, 4)])
            return Message((from_bytes(kept, torch.int32).long(), from_bytes(values, dtype)), shape, dtype)
    raise TypeError(f"no format for messages of {type(compressor).__name__}")


def _places(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)


def _nonnegative(signs: Tensor) -> Tensor:
    return ~(signs.flatten() < 0)  # true for NaN, too


def _signs(bits: Tensor) -> Tensor:
    """1 → +1 and 0 → −1, as int8."""
    return bits.to(torch.int8) * 2 - 1
