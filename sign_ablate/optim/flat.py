"""Many tensors end to end: an operation on all of them is one launch on a GPU instead of one per tensor."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sign_ablate.optim.layout import memory_order
from sign_ablate.optim.sign_step.upload import on_device

#: coordinates that are summed at once by `Flat.sums`
CHUNK = 1024


class Flat:
    """Dense tensors end to end, each padded with zeros.

    Args:
        like: tensors of the shapes and memory orders of all that are joined.
        multiple: sizes are padded to multiples of it.
        memory: coordinates are in the memory order of `like`, which copies least; else in C order.
    """

    def __init__(self, like: Sequence[Tensor], multiple: int = 1, *, memory: bool = True) -> None:
        self.like = like
        self.sizes = tuple(-(-t.numel() // multiple) * multiple for t in like)
        self.starts = (0, *itertools.accumulate(self.sizes[:-1]))
        self.orders = [memory_order(t) if memory else None for t in like]
        self._multiple = multiple

    def cat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Join tensors of the shapes of `like` into a 1-dimensional tensor."""
        pairs = zip(tensors, self.orders, strict=True)
        return cat([t if order is None else t.permute(order) for t, order in pairs], self.sizes)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """The part of each tensor in the last dimension, without the padding."""
        pieces = zip(flat.split(self.sizes, -1), self.like, strict=True)
        return [part[..., : t.numel()] for part, t in pieces]

    def split(self, flat: Tensor) -> list[Tensor]:
        """The inverse of `cat`: tensors of the shapes and strides of `like`, views where that is possible."""
        out = []
        for part, t, order in zip(self.parts(flat), self.like, self.orders, strict=True):
            if order is not None or t.is_contiguous():
                out.append(part.as_strided(t.shape, t.stride(), part.storage_offset()))
            else:
                out.append(torch.empty_like(t, dtype=part.dtype).copy_(part.view(t.shape)))
        return out

    def spread(self, values: Tensor) -> Tensor:
        """Repeat each tensor's value (last dimension) for each of its coordinates; 0 in the padding."""
        counts = [t.numel() for t in self.like]
        if self._multiple > 1:
            values = torch.stack([values, torch.zeros_like(values)], -1).flatten(-2)
            gaps = [size - count for size, count in zip(self.sizes, counts, strict=True)]
            counts = [x for pair in zip(counts, gaps, strict=True) for x in pair]
        repeats = on_device(("repeats", *counts), lambda: torch.tensor(counts), values.device)
        return torch.repeat_interleave(values, repeats, -1, output_size=sum(self.sizes))

    def sums(self, flat: Tensor) -> Tensor:
        """The sum of each tensor, over the last dimension of `flat`; `multiple` is CHUNK."""
        chunks = flat.view(*flat.shape[:-1], -1, CHUNK).sum(-1)
        return segment_sums(chunks, [size // CHUNK for size in self.sizes])


def cat(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Tensors end to end in C order, each padded with zeros to its size."""
    gaps = [size - t.numel() for t, size in zip(tensors, sizes, strict=True)]
    if not any(gaps):
        return torch.cat([t.reshape(-1) for t in tensors])
    zeros, parts = tensors[0].new_zeros(max(gaps)), []
    for t, gap in zip(tensors, gaps, strict=True):
        parts += [t.reshape(-1), zeros[:gap]]
    return torch.cat(parts)


def segment_sums(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Sums of `counts` consecutive values along the last dimension.

    A GPU runs one block of threads per segment. Sum chunks first, so that segments are short.
    """
    rows = math.prod(values.shape[:-1])
    lengths = on_device(("lengths", rows, *counts), lambda: torch.tensor([*counts] * rows), values.device)
    sums = torch.segment_reduce(values.reshape(-1), "sum", lengths=lengths, unsafe=True)
    return sums.view(*values.shape[:-1], -1)
