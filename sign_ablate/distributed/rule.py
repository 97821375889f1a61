"""Rules of aggregation: pure functions of W workers' gradients, by byte messages, to a single gradient.

A rule treats one parameter at a time. Each worker encodes its gradient. In one phase, every rank receives all
messages and decodes them. In two phases, each tensor is cut into W chunks; rank j receives the W messages
about chunk j and serves one reply, which all ranks receive.

State of a worker or server, such as momentum or a residual, is a dict per parameter, its memory. Coordinates
are numbered in C order, so results do not depend on DDP's buckets or on the memory format.
"""

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sign_ablate.optim.checks import python_value
from sign_ablate.optim.options.declare import check

Memory = dict[str, Tensor]
#: upper half of the key of noise that is equal on all ranks
_SHARED = 2**32 - 1


class Place(NamedTuple):
    """A worker or server, and the number of its parameter and step. Keys the noise."""

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
        for name, value in vars(self).items():  # a frozen dataclass has no plain assignment, here either
            object.__setattr__(self, name, python_value(value))
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


def wide(dtype: torch.dtype) -> torch.dtype:
    """Dtype of sums and states of a gradient of `dtype`: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def plain(g: Tensor) -> Tensor:
    """g in at least float32 and in C order."""
    return g.to(wide(g.dtype)).contiguous()


def kept(memory: Memory, name: str, like: Tensor) -> Tensor:
    """The tensor `name` of a memory, initialized to zeros in the shape of `like`."""
    if name not in memory:
        memory[name] = torch.zeros_like(like)
    return memory[name]


def mean_in_order(parts: list[Tensor]) -> Tensor:
    """Mean, summed in order: the order of `torch.sum` may depend on the shape."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


def chunks(flat: Tensor, workers: int, align: int = 1) -> Tensor:
    """Cut into rows of equal width, a multiple of `align`; the last ones are padded with zeros."""
    width = chunk_width(len(flat), workers, align)
    return pad(flat, (0, workers * width - len(flat))).view(workers, width)


def chunk_width(numel: int, workers: int, align: int = 1) -> int:
    """Number of a tensor's coordinates per server, a multiple of `align`."""
    return -(-numel // (workers * align)) * align
