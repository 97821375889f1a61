"""Compression of many tensors at once: a fixed number of launches, and at most one more per tensor.

QSGD compresses tensors that are smaller than their buckets one at a time, unless larger ones outweigh them.

Bit for bit equal to compressing each tensor, except TernGrad's standard deviation on a GPU, where sums are
added in another order.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import noise
from sign_ablate.optim.base import Batch
from sign_ablate.optim.compressors import (
    QSGD,
    Compressor,
    OneBit,
    ScaledSign,
    TernGrad,
    TopK,
    nonzero,
    wide,
)
from sign_ablate.optim.flat import CHUNK, Flat
from sign_ablate.optim.layout import memory_order
from sign_ablate.optim.ops import real, signs
from sign_ablate.optim.sign_step import joined
from sign_ablate.optim.sign_step.upload import on_device


def compressed(compress: Compressor, u: list[Tensor], step: int, batch: Batch) -> list[Tensor]:
    """C(u) for the parameters of a batch; for a shard, this process's part of C of the whole tensor."""
    like: Any = real(batch.entries[0].p)
    numbers = [entry.number for entry in batch.entries]
    if not hasattr(like, "to_local"):
        return together(compress, u, step, numbers)
    from torch.distributed.tensor import DTensor, distribute_tensor

    mesh, placements = like.device_mesh, like.placements
    shard = DTensor.from_local(u[0], mesh, placements, shape=like.shape, stride=like.stride())
    sent = compress(shard.full_tensor(), step, numbers[0])  # equal in all processes: nothing is sent for it
    return [distribute_tensor(sent, mesh, placements, src_data_rank=None).to_local()]


def together(compress: Compressor, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    """C(x) of each tensor. They are dense, of one dtype and on one device.

    Args:
        compress: the compressor.
        xs: the tensors.
        step: number of the step, which keys the noise.
        numbers: the parameters' numbers, which key the noise too.
    """
    some = [i for i, x in enumerate(xs) if x.numel()]
    if len(some) < 2:
        return [compress(x, step, i) for x, i in zip(xs, numbers, strict=True)]
    function = _FUNCTIONS[type(compress)]
    found = function(compress, [xs[i] for i in some], step, [numbers[i] for i in some])
    out = list(xs)
    for i, value in zip(some, found, strict=True):
        out[i] = value
    return out


def _scaled_sign(compress: Any, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    wides = [wide(x) for x in xs]
    l1 = compress.norm == "l1"
    powers = torch._foreach_abs(wides) if l1 else torch._foreach_mul(wides, wides)
    scales = torch.stack([power.mean() for power in powers])
    flat = Flat(xs)
    scale = flat.spread(scales if l1 else scales.sqrt())
    return flat.split((flat.cat(signs(xs)) * scale).to(xs[0].dtype))


def _one_bit(compress: Any, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    by_rows = all(x.dim() < 2 or (memory_order(x) or (1,))[0] == 0 for x in xs)
    flat = Flat(xs, memory=by_rows)
    shapes = [_matrix(x) if compress.columns else (x.numel(), 1) for x in xs]
    v = wide(flat.cat(xs))
    negative = v < 0
    values = torch.stack([negative.to(v.dtype), v.where(negative, 0), v.where(~negative, 0)])
    parts = zip(flat.parts(values), shapes, strict=True)
    count, below, above = torch.cat([part.reshape(3, *shape).sum(1) for part, shape in parts], 1)
    rows = _on_device("rows", shapes, v.device, lambda: [r for r, columns in shapes for _ in range(columns)])
    means = torch.stack([below / count.clamp(min=1), above / (rows - count).clamp(min=1)])
    # the column of each coordinate, among all
    first = [sum(columns for _, columns in shapes[:i]) for i in range(len(shapes))]
    table = _on_device("columns", shapes, v.device, lambda: [flat.starts, [c for _, c in shapes], first])
    start, columns, offset = flat.spread(table.int())
    column = torch.arange(len(v), dtype=torch.int32, device=v.device).sub_(start).remainder_(columns)
    below, above = means.index_select(1, column.add_(offset))
    return flat.split(torch.where(negative, below, above).to(xs[0].dtype))


def _qsgd(compress: Any, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    order = 2 if compress.norm == "l2" else torch.inf
    flat = Flat(xs, math.lcm(compress.bucket or 1, noise.GROUP), memory=False)
    if sum(flat.sizes) > 2 * sum(x.numel() for x in xs):  # mostly padding: buckets larger than the tensors
        return [compress(x, step, i) for x, i in zip(xs, numbers, strict=True)]
    v = wide(flat.cat(xs))
    if compress.bucket is None:
        own = flat.parts(v)
        if compress.norm == "max":
            norms = torch._foreach_norm(own, torch.inf)
        else:  # in the order of a single tensor's sum
            norms = tuple(torch.linalg.vector_norm(x.view(1, -1), 2) for x in own)
        norm = flat.spread(torch.stack(norms))
    else:
        v = v.view(-1, compress.bucket)
        norm = torch.linalg.vector_norm(v, order, dim=1, keepdim=True)
    scaled = (v.abs() / nonzero(norm) * compress.levels).clamp(max=compress.levels)
    floor = scaled.floor()
    up = _uniform(flat, compress.seed, step, numbers).view(v.shape) < scaled - floor
    decoded = v.sign() * norm * ((floor + up) / compress.levels)
    return flat.split(decoded.view(-1).to(xs[0].dtype))


def _terngrad(compress: Any, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    wides = [wide(x) for x in xs]
    flat, in_c_order = Flat(wides, CHUNK), Flat(wides, CHUNK, memory=False)
    g, scale = flat.cat(wides), torch.stack(torch._foreach_norm(wides, torch.inf))
    size = g.abs()
    if compress.clip is not None:
        sigma = _deviations(wides, flat, g)
        bound = torch.where(sigma == 0, torch.inf, compress.clip * sigma)
        scale = torch.minimum(scale, bound)
        size = torch.minimum(size, flat.spread(bound))
    of_each, divisor = flat.spread(torch.stack([scale, nonzero(scale)]))
    u = flat.cat(in_c_order.split(_uniform(in_c_order, compress.seed, step, numbers)))
    return flat.split((g.sign() * of_each * (u < size / divisor)).to(xs[0].dtype))


def _top_k(compress: Any, xs: list[Tensor], step: int, numbers: list[int]) -> list[Tensor]:
    flat = Flat(xs, memory=False)
    v = flat.cat(xs)
    counts = [compress.kept(x.numel()) for x in xs]
    own = zip(flat.parts(v.abs()), counts, strict=True)
    kept = torch.cat([size.topk(count, sorted=False).indices for size, count in own])
    key = (flat.starts, tuple(counts))
    starts = _on_device(
        "kept", key, v.device, lambda: torch.tensor(flat.starts).repeat_interleave(torch.tensor(counts))
    )
    kept += starts
    return flat.split(torch.zeros_like(v).scatter_(0, kept, v.gather(0, kept)))


_FUNCTIONS: dict[type, Callable[[Any, list[Tensor], int, list[int]], list[Tensor]]] = {
    ScaledSign: _scaled_sign,
    OneBit: _one_bit,
    QSGD: _qsgd,
    TernGrad: _terngrad,
    TopK: _top_k,
}


def _matrix(x: Tensor) -> tuple[int, int]:
    """Rows and columns of the matrix that OneBit compresses."""
    return (len(x), x.numel() // len(x)) if x.dim() > 1 else (x.numel(), 1)


def _deviations(xs: list[Tensor], flat: Flat, g: Tensor) -> Tensor:
    """The standard deviation of each tensor."""
    if g.device.type == "cpu":
        return torch.stack([x.std(correction=0) for x in xs])
    sizes = tuple(x.numel() for x in xs)
    count = _on_device("sizes", (g.dtype, *sizes), g.device, lambda: torch.tensor(sizes, dtype=g.dtype))
    centred = g - flat.spread(flat.sums(g) / count)
    return (flat.sums(centred * centred) / count).sqrt()


def _uniform(flat: Flat, seed: int, step: int, numbers: list[int]) -> Tensor:
    """noise.uniform for each tensor, padding included."""
    device = flat.like[0].device
    return noise.unit(joined.words(flat.sizes, numbers, device, seed, step, noise.DITHER))


def _on_device(name: str, key: Any, device: torch.device, make: Callable[[], Any]) -> Tensor:
    return on_device((name, *key), lambda: torch.as_tensor(make()), device)
