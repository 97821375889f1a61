"""Majority vote of signs."""

import dataclasses
import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from sign_ablate.distributed import wire
from sign_ablate.distributed.rule import Memory, Place, Rule, chunks, kept, plain, wide
from sign_ablate.optim import noise
from sign_ablate.optim.options.declare import AT_LEAST_0, FRACTION, Option


@dataclasses.dataclass(frozen=True)
class MajorityVote(Rule):
    """Majority vote of signs: Bernstein et al. 2018, arXiv 1802.04434; with momentum 2019, arXiv 1810.05291.

    Worker r sends sign(m + ξ), with its own momentum m ← βm + (1−β)g. The result is the sign of the sum of
    these signs: ±1, and 0 at a tie. SGD without momentum then makes the step x ← x − lr·vote. A value of 0
    sends a random sign, since a bit has no third value. If a value of a tensor is not finite on any rank, the
    vote on that tensor is NaN on all.

    Args:
        momentum: β of the workers; 0 votes on gradients, and above 0 it is Signum's vote.
        alpha: variance α of the dither ξ at step 0: ξ ~ N(0, α(1+k)^−γ), independent on each rank.
        gamma: annealing exponent γ.
        scale: unit of ξ: "absolute", or "rms" for the root mean square of the worker's tensor m.
        two_phase: vote by chunks, with 2 bits per coordinate in all, instead of by all-gather, with W − 1.
            The reply has one bit, so a tie is decided at random.
        tie: result of a tie: "zero", or "random" for the same random sign on all ranks.
    """

    name = "vote"

    momentum: Annotated[float, Option("Momentum of a worker.", FRACTION)] = 0.0
    alpha: Annotated[float, Option("Dither variance at step 0.", AT_LEAST_0)] = 0.0
    gamma: Annotated[float, Option("Annealing exponent.", AT_LEAST_0)] = 0.55
    scale: Annotated[Literal["absolute", "rms"], Option("Unit of the dither.")] = "absolute"
    two_phase: Annotated[bool, Option("Vote by chunks.")] = False
    tie: Annotated[Literal["zero", "random"], Option("Result of a tie.")] = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.two_phase and self.tie == "zero":
            raise ValueError("two_phase needs tie 'random': a reply has one bit, which cannot be 0")

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """Bits of m + ξ > 0, and a byte that is 1 if all are finite."""
        x = plain(g)
        if self.momentum:
            m = kept(memory, "momentum", x)
            x = m.lerp_(x, 1 - self.momentum)
        if self.alpha:
            x = x + self._sigma(x, place.step) * noise.normal(x.shape, *_key(place), x.device)
        finite = x.sum().isfinite()  # one reduction: an overflow of the sum is no worse than a value's
        bits = _decided(x, x > 0, place.own_seed, place, noise.ZERO).flatten()
        if self.two_phase:
            bits = chunks(bits, place.workers, align=8)
        packed = wire.pack_bits(bits)
        return torch.cat([packed, finite.to(torch.uint8).expand(*packed.shape[:-1], 1)], dim=-1)

    def _sigma(self, x: Tensor, k: int) -> Any:
        sigma = math.sqrt(self.alpha * (1 + k) ** -self.gamma)
        return sigma if self.scale == "absolute" else sigma * x.square().mean().sqrt()

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """Vote on the chunks."""
        width = 8 * (rows.shape[-1] - 1)
        first = place.rank * width
        result = self._elect(rows, place, first)
        finite = rows[..., -1].amin(0).unsqueeze(-1)
        return torch.cat([wire.pack_bits(result > 0), finite], dim=-1)

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Vote on all messages, or join the servers' votes."""
        if self.two_phase:
            vote = wire.unpack_bits(rows[:, :-1], 8 * (rows.shape[-1] - 1)).flatten()
            vote = vote.to(wide(dtype)).mul_(2).sub_(1)
        else:
            vote = self._elect(rows.unsqueeze(1), place, 0).flatten().to(wide(dtype))
        vote = vote[: shape.numel()].view(shape)
        return torch.where(rows[:, -1].amin().bool(), vote, torch.nan)

    def _elect(self, rows: Tensor, place: Place, first: int) -> Tensor:
        """sign(Σ sign) of coordinates numbered from `first`: uint8 (W, servers, bytes) → int32."""
        count = 8 * (rows.shape[-1] - 1)
        total = torch.full((rows.shape[1], count), -len(rows), dtype=torch.int32, device=rows.device)
        for row in rows:
            total.add_(wire.unpack_bits(row[..., :-1], count), alpha=2)
        if self.tie == "zero":
            return total.sign()
        up = _decided(total, total > 0, place.shared_seed, place, noise.TIE, first)
        return up.to(torch.int32) * 2 - 1


def _key(place: Place) -> tuple[int, int, int]:
    return place.own_seed, place.step, place.number


def _decided(x: Tensor, positive: Tensor, seed: int, place: Place, stream: int, first: int = 0) -> Tensor:
    """`positive`, but a random bit where x is 0; the coordinates of x are numbered from `first`."""
    zero = x == 0
    if x.device.type == "cpu" and not zero.any():
        return positive  # the usual case; on a GPU this test would wait for the device
    random = noise.words(x.numel(), seed, place.step, place.number, x.device, first=first, stream=stream)
    return positive | (zero & (random < 2**31).view(x.shape))
