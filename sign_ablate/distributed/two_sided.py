"""Scaled signs in both directions, with error feedback on worker and server."""

import dataclasses

import torch
from torch import Tensor

from sign_ablate.distributed import wire
from sign_ablate.distributed.rule import Memory, Place, Rule, chunks, kept, mean_in_order, plain, wide
from sign_ablate.optim.compressors import ScaledSign


@dataclasses.dataclass(frozen=True)
class TwoSidedSign(Rule):
    """Scaled signs both ways, with error feedback on worker and server: Zheng et al. 2019, arXiv 1905.10936.

    Worker r sends C(p), p = g + e, with C(p) = (‖p‖₁/d)·sign(p) of the whole tensor, and keeps e ← p − C(p).
    Server j does the same with the mean of the messages about its chunk, and one scale per chunk.
    """

    name = "two-sided-sign"
    two_phase = True

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """The tensor's scale and the signs of one chunk, for each server."""
        x = plain(g)
        p = kept(memory, "error", x).add_(x)
        signs, scale = ScaledSign().encode(p, place.step, place.number).parts
        bits = ~(signs < 0)
        p.sub_((bits.to(p.dtype) * 2 - 1) * scale)
        packed = wire.pack_bits(chunks(bits.flatten(), place.workers, align=8))
        return torch.cat([wire.to_bytes(scale).expand(place.workers, -1), packed], dim=1)

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """Scale and signs of the chunk's mean plus the server's error."""
        size = wide(dtype).itemsize
        width = 8 * (rows.shape[-1] - size)
        mean = mean_in_order([_scaled(row, wide(dtype)) for row in rows])
        p = kept(memory, "server_error", mean).add_(mean)
        first = place.rank * width
        p.view(-1)[max(0, numel - first) :] = 0  # padding of the last chunks
        counts = [min(max(numel - first - i * width, 0), width) for i in range(len(p))]
        scale = torch.stack([p[i, :n].abs().sum() / max(n, 1) for i, n in enumerate(counts)])
        replies = torch.cat([wire.to_bytes(scale).view(-1, size), wire.pack_bits(~(p < 0))], dim=1)
        p.sub_(_scaled(replies, wide(dtype)))
        return replies

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Join the chunks."""
        return _scaled(rows, wide(dtype)).flatten()[: shape.numel()].view(shape)


def _scaled(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Scaled signs of each row: uint8 (rows, scale and bits) → (rows, coordinates)."""
    size = dtype.itemsize
    scale = wire.from_bytes(rows[:, :size].flatten(), dtype).unsqueeze(1)
    bits = wire.unpack_bits(rows[:, size:], 8 * (rows.shape[1] - size))
    return (bits.to(dtype) * 2 - 1) * scale
