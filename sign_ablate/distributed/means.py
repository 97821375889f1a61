"""Means of gradients, and of compressed gradients."""

import dataclasses
from typing import Annotated, Any

import torch
from torch import Tensor

from sign_ablate.distributed import wire
from sign_ablate.distributed.rule import Memory, Place, Rule, chunks, kept, mean_in_order, plain, wide
from sign_ablate.optim.compressors import Compressor
from sign_ablate.optim.options.declare import Option


@dataclasses.dataclass(frozen=True)
class Mean(Rule):
    """Mean of the gradients, summed in the order of the ranks.

    DDP's all-reduce sums in another order. This rule sends as many bytes, and is the baseline for bitwise
    comparisons.
    """

    name = "mean"
    two_phase = True

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """Cut the gradient into chunks."""
        return wire.to_bytes(chunks(g.reshape(-1), place.workers)).view(place.workers, -1)

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """Average the chunks."""
        mean = mean_in_order([wire.from_bytes(row.flatten(), dtype).to(wide(dtype)) for row in rows])
        return wire.to_bytes(mean.to(dtype)).view(rows.shape[1:])

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Join the chunks."""
        return wire.from_bytes(rows.flatten(), dtype)[: shape.numel()].view(shape)


@dataclasses.dataclass(frozen=True)
class Compressed(Rule):
    """Mean of compressed gradients, with or without error feedback on the worker.

    With error feedback, worker r sends C(p), p = g + e, and keeps e ← p − C(p). The error has the unit of a
    gradient, since a hook has no learning rate; with a constant one this is Algorithm 2 of
    Karimireddy et al. 2019, arXiv 1901.09847. Each rank rounds with a seed of its own.

    Args:
        compressor: the compressor; its `seed`, if it has one, is replaced.
        error_feedback: keep what was not sent, and add it to the next gradient.
    """

    name = "compressed"
    two_phase = False

    compressor: Annotated[Any, Option("The compressor.")]
    error_feedback: Annotated[bool, Option("Keep what was not sent.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.compressor, Compressor):
            raise ValueError(f"compressor must be a Compressor, got {self.compressor!r}")

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """C(g), or C(g + e)."""
        x = plain(g)
        if self.error_feedback:
            x = kept(memory, "error", x).add_(x)
        packed = wire.pack(self._own(place), self._own(place).encode(x, place.step, place.number))
        if self.error_feedback:
            x.sub_(self._decoded(packed, x.shape, x.dtype))  # x is the memory
        return packed

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Mean of the decoded messages."""
        return mean_in_order([self._decoded(row, shape, wide(dtype)) for row in rows])

    def as_dict(self) -> dict[str, Any]:
        """Name and options as plain values."""
        return {**super().as_dict(), "compressor": self.compressor.as_dict()}

    def _own(self, place: Place) -> Compressor:
        if hasattr(self.compressor, "seed"):
            return dataclasses.replace(self.compressor, seed=place.own_seed)
        return self.compressor

    def _decoded(self, packed: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return self.compressor.decode(wire.unpack(self.compressor, packed, shape, dtype))
