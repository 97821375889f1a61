"""Local tensors of a parameter, and sums over all of them: DTensor (FSDP2), complex, memory orders."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import layout
from sign_ablate.optim.sign_step import plain
from sign_ablate.optim.sign_step.inputs import Item, Rule

#: a group, its parameters at work, its rule
Todo = tuple[dict[str, Any], list[Any], Rule]


def local(p: Any, g: Any, m: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """The real tensors in this process: a shard's, and a complex number's two parts."""
    if hasattr(p, "to_local"):
        g = g if not hasattr(g, "to_local") else g.to_local()
        p, m = p.to_local(), None if m is None else m.to_local()
    if p.is_complex():
        p, g = torch.view_as_real(p), torch.view_as_real(g.resolve_conj())
        m = None if m is None else torch.view_as_real(m)
    return p, g, m


def item(param: Tensor, p: Tensor, g: Tensor, m: Tensor | None, index: int, slot: int) -> Item:
    """The item that the plain step works on.

    Coordinates are numbered in memory order where the parameter is dense, else in C order.
    """
    first, order = _first_coordinate(param), layout.memory_order(p)
    if order is None:
        return Item(p, g, m, index, slot, first)
    differentiable = p.requires_grad and torch.is_grad_enabled()  # views in place would need care
    if differentiable or not (m is None or m.permute(order).is_contiguous()):
        return Item(p, g, m, index, slot, first, None if p.is_contiguous() else order)
    flat = [t if t is None else t.permute(order).contiguous().view(-1) for t in (p, g, m)]
    return Item(flat[0], flat[1], flat[2], index, slot, first)  # type: ignore[arg-type]


def _first_coordinate(param: Tensor) -> int:
    """A shard's first coordinate in the whole parameter: its noise is that of the unsharded one."""
    if not hasattr(param, "placements"):
        return 0
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(param.shape, param.device_mesh, param.placements)  # type: ignore[attr-defined]
    strides = [math.prod(param.shape[i + 1 :]) for i in range(param.dim())]
    return sum(o * s for o, s in zip(offset, strides, strict=True))


def reduced(params: list[Tensor], sums: Tensor) -> Tensor:
    """Rows of local sums, one per parameter, with those of sharded parameters summed over the shards."""
    meshes: dict[Any, list[int]] = {}
    for i, p in enumerate(params):
        if hasattr(p, "placements"):
            for dim, placement in enumerate(p.placements):
                if placement.is_shard():
                    meshes.setdefault((p.device_mesh, dim), []).append(i)  # type: ignore[attr-defined]
    for (mesh, dim), rows in meshes.items():
        if len(rows) == len(params):  # no index tensor: nothing crosses from the host
            sums = sums.clone()
            torch.distributed.all_reduce(sums, group=mesh.get_group(dim))
            continue
        part = sums[rows]
        torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        sums = sums.index_copy(0, torch.tensor(rows, device=sums.device), part)
    return sums


def relative(work: list[Todo], *, stored: bool = False) -> list[Todo]:
    """The rules with σ_k multiplied by the rms of the momenta-to-be, over all parameters or each tensor.

    One rule per parameter where the rms is the tensor's. The momenta are left alone: the step computes
    them again, which costs a pass over them and no memory. `stored` takes the last step's instead.
    """
    params = [param for _, items, _ in work for param, *_ in items]
    if not params:
        return work
    squares = torch.stack([_square(item(*x), rule, stored) for _, items, rule in work for x in items])
    squares = reduced(params, squares.unsqueeze(1)).squeeze(1)
    counts = [p.numel() * (2 if p.is_complex() else 1) for p in params]
    total = (squares.sum() / max(sum(counts), 1)).sqrt()
    out: list[Todo] = []
    at = 0
    for group, items, rule in work:
        if group["scale"] == "global_rms":
            out.append((group, items, dataclasses.replace(rule, sigma=total * rule.sigma)))
        elif group["scale"] == "tensor_rms":
            for i, x in enumerate(items):
                rms = (squares[at + i] / max(counts[at + i], 1)).sqrt()
                out.append((group, [x], dataclasses.replace(rule, sigma=rms * rule.sigma)))
        else:
            out.append((group, items, rule))
        at += len(items)
    return out


def _square(x: Item, rule: Rule, stored: bool) -> Tensor:
    """‖m_{k+1}‖² without changing m."""
    parts = []
    for block in x.blocks():
        if stored:
            m = plain.stored(block, rule)
        else:
            copy = dataclasses.replace(block, m=None if block.m is None else block.m.clone())
            m = plain.advanced(copy, plain.effective(copy, rule), rule)
        parts.append((m * m).sum())
    return torch.stack(parts).sum().float()
