"""Noise of many parameters at once, for the foreach step: a few launches instead of a few per parameter."""

import ctypes
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import noise
from sign_ablate.optim.sign_step.inputs import Item, StepConstants
from sign_ablate.optim.sign_step.upload import on_device

_MASK = (1 << 32) - 1
#: coordinates that are joined at most, unless one parameter has more
MOST = 1 << 24


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """The coordinates of many parameters end to end, each padded to whole groups of noise.GROUP."""

    items: Sequence[Item]
    sizes: tuple[int, ...]  #: of the padded parameters

    def words(self, const: StepConstants, stream: int) -> Tensor:
        """Random words: for each parameter those of Item.words, and more where it is padded."""
        device, blocks = self.items[0].p.device, tuple(size // 4 for size in self.sizes)
        total = sum(blocks)
        starts = [sum(blocks[:i]) for i in range(len(blocks))]
        rows = torch.tensor([starts, [x.index for x in self.items], blocks], dtype=torch.int64)
        key = ("joined", blocks, tuple(x.index for x in self.items))
        start, parameter, count = on_device(key, lambda: rows, device)
        owner = torch.repeat_interleave(torch.stack([start, parameter], 1), count, 0, output_size=total)
        block = torch.arange(total, device=device) - owner[:, 0]
        return _words(torch.stack([block, owner[:, 1]]), const, stream)

    def cat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the parameters' shapes, end to end, padded with zeros."""
        return cat(tensors, self.sizes)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The inverse of `cat`: views of the parameters' shapes."""
        parts = flat.split(self.sizes)
        return [part[: x.p.numel()].view(x.p.shape) for part, x in zip(parts, self.items, strict=True)]


def cat(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Tensors end to end, each padded with zeros to its size."""
    gaps = [size - t.numel() for t, size in zip(tensors, sizes, strict=True)]
    zeros, parts = tensors[0].new_zeros(max(gaps)), []
    for t, gap in zip(tensors, gaps, strict=True):
        parts += [t.reshape(-1), zeros[:gap]]
    return torch.cat(parts)


def apply(
    function: Callable[[Tensor, Any], Tensor], tensors: Sequence[Tensor], items: Sequence[Item]
) -> list[Tensor]:
    """`function` of each tensor and its item, computed for many of them at once."""
    out: list[Any] = [None] * len(items)
    for places in _chunks(items):
        if len(places) == 1:
            (i,) = places
            out[i] = function(tensors[i], items[i])
            continue
        mine = [items[i] for i in places]
        whole = Joined(mine, tuple(-(-x.p.numel() // noise.GROUP) * noise.GROUP for x in mine))
        found = whole.split(function(whole.cat([tensors[i] for i in places]), whole))
        for i, value in zip(places, found, strict=True):
            out[i] = value
    return out


def _chunks(items: Sequence[Item]) -> list[list[int]]:
    """Places in `items` of those that are joined. Shards, and parameters with gaps, stay alone."""
    out: list[list[int]] = []
    room = 0
    for i, x in enumerate(items):
        alone = x.first != 0 or x.numbers is not None
        if alone or x.p.numel() > room:
            out.append([])
            room = 0 if alone else MOST
        out[-1].append(i)
        room -= x.p.numel()
    return out


def _words(state: Tensor, const: StepConstants, stream: int) -> Tensor:
    """noise.words of blocks and parameters, the two rows of `state`: a round of Philox in four launches.

    Words are the lower halves of int64 numbers, whose upper halves stay 0 because only the lower are written.
    """
    constants = on_device(("philox", const.seed), lambda: _constants(const.seed), state.device)
    multipliers, keys_low = constants[0], _halves(constants)[..., 0]
    state_low = _halves(state)[..., 0]
    step = const.step if isinstance(const.step, Tensor) else ctypes.c_int32(const.step & _MASK).value
    others: tuple[Any, Any] = (stream << 16, step)
    product = state
    for i in range(noise.ROUNDS):
        product = state * multipliers
        halves = _halves(product)
        torch.bitwise_xor(halves[1, :, 1], others[0], out=state_low[0])
        torch.bitwise_xor(halves[0, :, 1], others[1], out=state_low[1])
        state_low.bitwise_xor_(keys_low[1 + i])
        others = halves[1, :, 0], halves[0, :, 0]
    product.bitwise_and_(_MASK)
    four = state[0], product[1], state[1], product[0]
    return torch.stack([word.view(-1, 16) for word in four], 1).view(-1)


def _constants(seed: int) -> Tensor:
    """The multipliers, and the key of each round: int64 of shape (1 + ROUNDS, 2, 1)."""
    return torch.tensor([noise.MULTIPLIERS, *noise.round_keys(seed)], dtype=torch.int64).unsqueeze(-1)


def _halves(x: Tensor) -> Tensor:
    """The int32 halves of int64 numbers, the lower first."""
    return x.view(torch.int32).view(*x.shape, 2)
