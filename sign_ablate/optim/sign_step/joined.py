"""Noise for many parameters at once, in the foreach step: a few launches instead of a few per parameter."""

import ctypes
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import flat, noise
from sign_ablate.optim.sign_step.inputs import Item, StepConstants
from sign_ablate.optim.sign_step.upload import on_device

_MASK = (1 << 32) - 1
#: largest number of joined coordinates, unless one parameter has more
MOST = 1 << 24


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """The coordinates of many parameters end to end, each padded to whole groups of noise.GROUP."""

    items: Sequence[Item]
    sizes: tuple[int, ...]  #: of the padded parameters

    def words(self, const: StepConstants, stream: int) -> Tensor:
        """Random words: Item.words for each parameter, padding included."""
        return self.random(const.seed, const.step, stream)

    def random(self, seed: int, step: int | Tensor, stream: int) -> Tensor:
        """Random words: Item.random for each parameter, padding included."""
        numbers = [x.index for x in self.items]
        return words(self.sizes, numbers, self.items[0].p.device, seed, step, stream)

    def cat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the parameters' shapes, end to end, padded with zeros."""
        return flat.cat(tensors, self.sizes)

    def split(self, joined: Tensor) -> list[Tensor]:
        """The inverse of `cat`: views of the parameters' shapes."""
        parts = joined.split(self.sizes)
        return [part[: x.p.numel()].view(x.p.shape) for part, x in zip(parts, self.items, strict=True)]


def apply(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    items: Sequence[Item],
    *more: Sequence[Tensor],
) -> list[Tensor]:
    """Apply `function` to each tensor, its item, and one tensor of each further list, many at once."""
    out: list[Any] = [None] * len(items)
    for places in _chunks(items):
        if len(places) == 1:
            (i,) = places
            out[i] = function(tensors[i], items[i], *(others[i] for others in more))
            continue
        mine = [items[i] for i in places]
        whole = Joined(mine, tuple(-(-x.p.numel() // noise.GROUP) * noise.GROUP for x in mine))
        first, *rest = (whole.cat([each[i] for i in places]) for each in (tensors, *more))
        found = whole.split(function(first, whole, *rest))
        for i, value in zip(places, found, strict=True):
            out[i] = value
    return out


def where(
    condition: Tensor, xs: Sequence[Tensor], ys: Sequence[Tensor], items: Sequence[Item]
) -> list[Tensor]:
    """`torch.where` with a 0-dimensional condition, for many pairs of tensors of the items' shapes."""
    return apply(lambda x, _, y: torch.where(condition, x, y), xs, items, ys)


def _chunks(items: Sequence[Item]) -> list[list[int]]:
    """Indices of the items that are joined, chunk by chunk. Shards and parameters with gaps stay alone."""
    out: list[list[int]] = []
    room = -1
    for i, x in enumerate(items):
        alone = x.first != 0 or x.numbers is not None
        if alone or x.p.numel() > room:
            out.append([])
            room = -1 if alone else MOST
        out[-1].append(i)
        room = max(room - x.p.numel(), -1)
    return out


def words(
    sizes: Sequence[int],
    numbers: Sequence[int],
    device: torch.device,
    seed: int,
    step: int | Tensor,
    stream: int,
) -> Tensor:
    """noise.words for many parameters end to end: int64 of shape (sum of sizes,).

    Args:
        sizes: coordinates of each parameter, multiples of noise.GROUP.
        numbers: numbers of the parameters.
        device: where to compute.
        seed: as in noise.words.
        step: as in noise.words.
        stream: as in noise.words.
    """
    blocks = tuple(size // 4 for size in sizes)
    total = sum(blocks)
    starts = [0, *itertools.accumulate(blocks[:-1])]
    rows = ("joined", blocks, tuple(numbers))
    table = on_device(rows, lambda: torch.tensor([starts, numbers, blocks]), device)
    state = torch.repeat_interleave(table[:2], table[2], 1, output_size=total)
    torch.sub(torch.arange(total, device=device), state[0], out=state[0])
    return _philox(state, seed, step, stream)


def _philox(state: Tensor, seed: int, step: int | Tensor, stream: int) -> Tensor:
    """noise.words for blocks and parameters, the two rows of `state`: a round of Philox in three launches.

    Words are the lower halves of int64 numbers, whose upper halves stay 0 because only the lower are written.
    Products are computed twice, as rows p, q, p, q: a round mixes their halves crosswise, as rows q and p.
    """
    constants = on_device(("philox", seed), lambda: _constants(seed), state.device)
    multipliers, keys = constants[0], _halves(constants)[1:, ..., 0]
    low, four = _halves(state)[..., 0], state.expand(2, *state.shape)
    products = [torch.empty_like(four, memory_format=torch.contiguous_format) for _ in range(2)]
    crosswise = [product.view(4, -1)[1:3] for product in products]
    for i in range(noise.ROUNDS):
        torch.mul(four, multipliers, out=products[i % 2])
        high, before = _halves(crosswise[i % 2])[..., 1], _halves(crosswise[1 - i % 2])[..., 0]
        if i:
            torch.bitwise_xor(high, before, out=low)
        else:
            torch.bitwise_xor(high[0], stream << 16, out=low[0])
            torch.bitwise_xor(high[1], _int32(step), out=low[1])
        low.bitwise_xor_(keys[i])
    q, p = crosswise[(noise.ROUNDS - 1) % 2].bitwise_and_(_MASK)
    four = torch.stack([word.view(-1, 16) for word in (state[0], q, state[1], p)], 1)
    return four.view(-1)


def _int32(step: int | Tensor) -> int | Tensor:
    return step if isinstance(step, Tensor) else ctypes.c_int32(step & _MASK).value


def _constants(seed: int) -> Tensor:
    """The multipliers, and the key of each round: int64 of shape (1 + ROUNDS, 2, 1)."""
    return torch.tensor([noise.MULTIPLIERS, *noise.round_keys(seed)], dtype=torch.int64).unsqueeze(-1)


def _halves(x: Tensor) -> Tensor:
    """The int32 halves of int64 numbers, the lower first."""
    return x.view(torch.int32).view(*x.shape, 2)
