"""Rules of aggregation: pure functions from the gradients of W workers to one gradient, by way of bytes.

A rule treats one parameter at a time. Each worker encodes its gradient. In one phase, every rank receives all
messages and decodes them. In two phases, each tensor is cut into W chunks; rank j receives the W messages
about chunk j and serves one reply, which all ranks receive.

State of a worker or server, such as momentum or a residual, is a dict per parameter, its memory. Coordinates
are numbered in C order, so results do not depend on DDP's buckets or on the memory format.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sign_ablate.distributed import wire
from sign_ablate.optim import noise
from sign_ablate.optim.compressors import Compressor, ScaledSign
from sign_ablate.optim.options.declare import AT_LEAST_0, FRACTION, Option, check

Memory = dict[str, Tensor]
#: upper half of the noise's key for what all ranks draw alike
_SHARED = 2**32 - 1


class Place(NamedTuple):
    """A worker or server, and the parameter and step that it works on. Keys the noise."""

    rank: int
    workers: int
    number: int  #: of the parameter
    step: int  #: from 0
    seed: int = 0  #: in [0, 2³²)

    @property
    def own_seed(self) -> int:
        """Seed of the rank's own noise, which differs from that of the optimizers."""
        return self.seed | (self.rank + 1) << 32

    @property
    def shared_seed(self) -> int:
        """Seed of noise that is equal on all ranks."""
        return self.seed | _SHARED << 32


@dataclasses.dataclass(frozen=True)
class Rule(ABC):
    """A rule of aggregation and its options."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    @property
    @abstractmethod
    def two_phase(self) -> bool:
        """True if the ranks serve chunks."""

    @abstractmethod
    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """Encode a worker's gradient: uint8 of (bytes,), or of (W, bytes) with a row for each server."""

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """Replies of the servers from `place.rank` on: uint8 (W, servers, bytes) → (servers, bytes)."""
        raise NotImplementedError

    @abstractmethod
    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Decode the messages of all workers, or the replies of all servers: uint8 (W, bytes) → `shape`."""

    def as_dict(self) -> dict[str, Any]:
        """Name and options as plain values, which `torch.load(weights_only=True)` accepts."""
        return {"name": self.name, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Mean(Rule):
    """Mean of the gradients, summed in the order of the ranks.

    DDP's all-reduce sums in an order of its own. This is the baseline to be compared bit for bit; it sends as
    many bytes.
    """

    name = "mean"
    two_phase = True

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """Cut the gradient into chunks."""
        return wire.to_bytes(_chunks(g.reshape(-1), place.workers)).view(place.workers, -1)

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """Average the chunks."""
        mean = _mean([wire.from_bytes(row.flatten(), dtype).to(_wide(dtype)) for row in rows])
        return wire.to_bytes(mean.to(dtype)).view(rows.shape[1:])

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Join the chunks."""
        return wire.from_bytes(rows.flatten(), dtype)[: shape.numel()].view(shape)


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
        x = _plain(g)
        if self.momentum:
            m = _kept(memory, "momentum", x)
            x = m.lerp_(x, 1 - self.momentum)
        if self.alpha:
            x = x + self._sigma(x, place.step) * noise.normal(x.shape, *_key(place), x.device)
        finite = x.sum().isfinite()  # one reduction: an overflow of the sum is no worse than a value's
        bits = _decided(x, x > 0, place.own_seed, place, noise.ZERO).flatten()
        if self.two_phase:
            bits = _chunks(bits, place.workers, align=8)
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
            vote = vote.to(_wide(dtype)).mul_(2).sub_(1)
        else:
            vote = self._elect(rows.unsqueeze(1), place, 0).flatten().to(_wide(dtype))
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


@dataclasses.dataclass(frozen=True)
class Compressed(Rule):
    """Mean of compressed gradients, with or without error feedback on the worker.

    With error feedback, worker r sends C(p), p = g + e, and keeps e ← p − C(p). The error has the unit of a
    gradient, since a hook does not know the learning rate; with a constant one this is Algorithm 2 of
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
        x = _plain(g)
        if self.error_feedback:
            x = _kept(memory, "error", x).add_(x)
        packed = wire.pack(self._own(place), self._own(place).encode(x, place.step, place.number))
        if self.error_feedback:
            x.sub_(self._decoded(packed, x.shape, x.dtype))  # x is the memory
        return packed

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Mean of the workers' C."""
        return _mean([self._decoded(row, shape, _wide(dtype)) for row in rows])

    def as_dict(self) -> dict[str, Any]:
        """Name and options as plain values."""
        return {**super().as_dict(), "compressor": self.compressor.as_dict()}

    def _own(self, place: Place) -> Compressor:
        if hasattr(self.compressor, "seed"):
            return dataclasses.replace(self.compressor, seed=place.own_seed)
        return self.compressor

    def _decoded(self, packed: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return self.compressor.decode(wire.unpack(self.compressor, packed, shape, dtype))


@dataclasses.dataclass(frozen=True)
class TwoSidedSign(Rule):
    """Scaled signs both ways, with error feedback on worker and server: Zheng et al. 2019, arXiv 1905.10936.

    Worker r sends C(p), p = g + e, with C(p) = (‖p‖₁/d)·sign(p) of the whole tensor, and keeps e ← p − C(p).
    Server j does the same with the mean of the messages about its chunk, and one scale per chunk.
    """

    name = "two-sided-sign"
    two_phase = True

    def encode(self, g: Tensor, memory: Memory, place: Place) -> Tensor:
        """The tensor's scale, and the signs of the server's chunk, for each server."""
        x = _plain(g)
        p = _kept(memory, "error", x).add_(x)
        signs, scale = ScaledSign().encode(p, place.step, place.number).parts
        bits = ~(signs < 0)
        p.sub_((bits.to(p.dtype) * 2 - 1) * scale)
        packed = wire.pack_bits(_chunks(bits.flatten(), place.workers, align=8))
        return torch.cat([wire.to_bytes(scale).expand(place.workers, -1), packed], dim=1)

    def serve(self, rows: Tensor, memory: Memory, place: Place, numel: int, dtype: torch.dtype) -> Tensor:
        """The chunk's scale and signs, of the mean and the server's error."""
        size = _wide(dtype).itemsize
        width = 8 * (rows.shape[-1] - size)
        mean = _mean([_scaled(row, _wide(dtype)) for row in rows])
        p = _kept(memory, "server_error", mean).add_(mean)
        first = place.rank * width
        p.view(-1)[max(0, numel - first) :] = 0  # the last chunks are filled up
        counts = [min(max(numel - first - i * width, 0), width) for i in range(len(p))]
        scale = torch.stack([p[i, :n].abs().sum() / max(n, 1) for i, n in enumerate(counts)])
        replies = torch.cat([wire.to_bytes(scale).view(-1, size), wire.pack_bits(~(p < 0))], dim=1)
        p.sub_(_scaled(replies, _wide(dtype)))
        return replies

    def decode(self, rows: Tensor, place: Place, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Join the chunks."""
        return _scaled(rows, _wide(dtype)).flatten()[: shape.numel()].view(shape)


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Mean, MajorityVote, Compressed, TwoSidedSign)}


def _scaled(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Scaled signs of each row: uint8 (rows, scale and bits) → (rows, coordinates)."""
    size = dtype.itemsize
    scale = wire.from_bytes(rows[:, :size].flatten(), dtype).unsqueeze(1)
    bits = wire.unpack_bits(rows[:, size:], 8 * (rows.shape[1] - size))
    return (bits.to(dtype) * 2 - 1) * scale


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _plain(g: Tensor) -> Tensor:
    """g in at least float32 and in C order."""
    return g.to(_wide(g.dtype)).contiguous()


def _kept(memory: Memory, name: str, like: Tensor) -> Tensor:
    if name not in memory:
        memory[name] = torch.zeros_like(like)
    return memory[name]


def _mean(parts: list[Tensor]) -> Tensor:
    """Mean, summed in order: `torch.sum` may add up in another one for another shape."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


def _chunks(flat: Tensor, workers: int, align: int = 1) -> Tensor:
    """Rows of equal width, a multiple of `align`; the last are filled up with zeros."""
    width = chunk_width(len(flat), workers, align)
    return pad(flat, (0, workers * width - len(flat))).view(workers, width)


def chunk_width(numel: int, workers: int, align: int = 1) -> int:
    """Number of coordinates that a server is sent of a tensor, a multiple of `align`."""
    return -(-numel // (workers * align)) * align


def _key(place: Place) -> tuple[int, int, int]:
    return place.own_seed, place.step, place.number


def _decided(x: Tensor, positive: Tensor, seed: int, place: Place, stream: int, first: int = 0) -> Tensor:
    """`positive`, but a random bit where x is 0; the coordinates of x are numbered from `first`."""
    zero = x == 0
    if x.device.type == "cpu" and not zero.any():
        return positive  # the usual case; on a GPU it would wait for the answer
    random = noise.words(x.numel(), seed, place.step, place.number, x.device, first=first, stream=stream)
    return positive | (zero & (random < 2**31).view(x.shape))
