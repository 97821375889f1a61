"""Local tensors of parameters (shards of FSDP2, complex, any memory order), and sums over all shards."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import layout
from sign_ablate.optim.sign_step import plain
from sign_ablate.optim.sign_step.inputs import Item, StepConstants

#: a group, its parameters that have a gradient, and the constants of their step
Todo = tuple[dict[str, Any], list[Any], StepConstants]


def local(p: Any, g: Any, m: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Local real tensors of a parameter, its gradient and momentum: shards, and pairs of reals if complex."""
    if hasattr(p, "to_local"):
        g = g if not hasattr(g, "to_local") else g.to_local()
        p, m = p.to_local(), None if m is None else m.to_local()
    if p.is_complex():
        p, g = torch.view_as_real(p), torch.view_as_real(g.resolve_conj())
        m = None if m is None else torch.view_as_real(m)
    return p, g, m


def item(param: Tensor, p: Tensor, g: Tensor, m: Tensor | None, index: int, slot: int) -> Item:
    """Item of the plain step for a local tensor.

    Coordinates are numbered within the whole parameter, in memory order if it is dense, else in C order. So a
    shard has the noise of its part of the whole parameter.
    """
    sizes, offset, order = list(param.shape), _offset(param), layout.memory_order(param)
    order = tuple(range(param.dim())) if order is None else order
    if param.is_complex():
        sizes, offset, order = [*sizes, 2], [*offset, 0], (*order, param.dim())
    strides = layout.contiguous_strides([sizes[d] for d in order])
    first = sum(offset[d] * stride for d, stride in zip(order, strides, strict=True))
    if p.requires_grad and torch.is_grad_enabled():  # differentiable: views in place would need care
        numbers = tuple(strides[order.index(d)] for d in range(p.dim()))
    else:
        numbers = strides
        p, g, m = p.permute(order), g.permute(order), None if m is None else m.permute(order)
        if p.is_contiguous() and (m is None or m.is_contiguous()) and _has_no_gaps(p, numbers):
            m = None if m is None else m.view(-1)
            return Item(p.view(-1), g.contiguous().view(-1), m, index, slot, first)
    return Item(p, g, m, index, slot, first, None if _has_no_gaps(p, numbers) else numbers)


def _has_no_gaps(p: Tensor, numbers: tuple[int, ...]) -> bool:
    """Return True if the coordinates of p have consecutive numbers in C order. Sizes of 1 are ignored."""
    found = zip(p.shape, numbers, layout.contiguous_strides(p.shape), strict=True)
    return p.numel() == 0 or all(size == 1 or number == stride for size, number, stride in found)


def _offset(param: Any) -> list[int]:
    """The indices of a shard's first element in the whole parameter."""
    if not hasattr(param, "placements"):
        return [0] * param.dim()
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(param.shape, param.device_mesh, param.placements)
    return list(offset)


def check_block(param: Any) -> None:
    """Raise RuntimeError unless a shard is one block of the whole parameter, as its noise requires.

    FSDP2 over tensor parallelism splits one dimension twice, and marks the outer split with the number of
    parts of the inner one. Shards are blocks where these numbers divide the dimension.
    """
    placements = getattr(param, "placements", ())
    for i, placement in enumerate(placements):
        factor = getattr(placement, "split_factor", None)
        if factor is None:
            continue
        same = [d for d, other in enumerate(placements) if getattr(other, "dim", None) == placement.dim]
        inner = math.prod(param.device_mesh.size(d) for d in same if d > i)
        if factor != inner or param.shape[placement.dim] % math.prod(map(param.device_mesh.size, same)):
            raise RuntimeError(
                f"no noise for a parameter of shape {tuple(param.shape)} with placements {placements}: a "
                "process has several pieces of it; use sizes that the mesh divides, or neither dither nor "
                "random signs of zero nor stochastic rounding"
            )


def reduced(params: list[Tensor], sums: Tensor) -> Tensor:
    """Sums of whole parameters, from local sums with one row per parameter."""
    meshes: dict[Any, list[int]] = {}
    for i, p in enumerate(params):
        if hasattr(p, "placements"):
            for dim, placement in enumerate(p.placements):
                if not placement.is_replicate():
                    meshes.setdefault((p.device_mesh, dim), []).append(i)  # type: ignore[attr-defined]
    for (mesh, dim), rows in meshes.items():
        if len(rows) == len(params):  # without an index tensor, nothing is copied from the host
            sums = sums.clone()
            torch.distributed.all_reduce(sums, group=mesh.get_group(dim))
            continue
        part = sums[rows]
        torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        sums = sums.index_copy(0, torch.tensor(rows, device=sums.device), part)
    return sums


def relative(work: list[Todo], *, stored: bool = False) -> list[Todo]:
    """Multiply σ_k by the rms of the momenta after their update, over all parameters or per tensor.

    With `tensor_rms` each parameter has constants of its own. The momenta are not changed: the step computes
    the update again, which costs one more pass and no memory. With `stored`, the momenta of the last step are
    used instead.
    """
    params = [param for _, items, _ in work for param, *_ in items]
    if not params:
        return work
    squares = torch.stack([_square(item(*x), const, stored) for _, items, const in work for x in items])
    squares = reduced(params, squares.unsqueeze(1)).squeeze(1)
    counts = [p.numel() * (2 if p.is_complex() else 1) for p in params]
    total = (squares.sum() / max(sum(counts), 1)).sqrt()
    out: list[Todo] = []
    at = 0
    for group, items, const in work:
        if group["scale"] == "global_rms":
            out.append((group, items, dataclasses.replace(const, sigma=total * const.sigma)))
        elif group["scale"] == "tensor_rms":
            for i, x in enumerate(items):
                rms = (squares[at + i] / max(counts[at + i], 1)).sqrt()
                out.append((group, [x], dataclasses.replace(const, sigma=rms * const.sigma)))
        else:
            out.append((group, items, const))
        at += len(items)
    return out


def _square(x: Item, const: StepConstants, stored: bool) -> Tensor:
    """‖m_{k+1}‖² without changing m."""
    parts = []
    for block in x.blocks():
        if stored:
            m = plain.stored(block, const)
        else:
            copy = dataclasses.replace(block, m=None if block.m is None else block.m.clone())
            m = plain.advanced(copy, plain.effective(copy, const), const)
        parts.append((m * m).sum())
    return torch.stack(parts).sum().float()
