"""Gradient compressors: encoding of a tensor as a lossy message, and decoding by the receiver.

A compressor takes a tensor and returns one of its shape and dtype; it may return its argument and
never writes to it. Each works on one tensor at a time. Those that round at random draw counter-based
noise, a function of (seed, step, parameter, coordinate).
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sign_ablate.optim import checks, noise
from sign_ablate.optim.ops import sign
from sign_ablate.optim.options.compressors import (
    OneBitOptions,
    QSGDOptions,
    ScaledSignOptions,
    TernGradOptions,
    TopKOptions,
)
from sign_ablate.optim.options.declare import check


class Message(NamedTuple):
    """Message of a compressor: its tensors, not packed into bits, and shape and dtype of the input."""

    parts: tuple[Tensor, ...]
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class Compressor(ABC):
    """A compressor and its options."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # a frozen dataclass has no plain assignment, here either
            object.__setattr__(self, name, checks.python_value(value))
        check(type(self), vars(self))

    def __call__(self, x: Tensor, step: int, index: int) -> Tensor:
        """C(x), which is decode(encode(x)). `step` and `index`, the parameter's number, key the noise."""
        return x if x.numel() == 0 else self.decode(self.encode(x, step, index))

    @abstractmethod
    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """Encode x, which is not empty."""

    @abstractmethod
    def decode(self, message: Message) -> Tensor:
        """Decode a message: a tensor of the shape and dtype of the encoded one."""

    def as_dict(self) -> dict[str, Any]:
        """Name and options as plain values, which `torch.load(weights_only=True)` accepts."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class ScaledSign(ScaledSignOptions, Compressor):
    """(‖x‖₁/d)·sign(x): Karimireddy et al. 2019, arXiv 1901.09847, Algorithm 1.

    A contraction, the projection of x on sign(x): ‖x−C(x)‖² = ‖x‖² − ‖x‖₁²/d, less where x has zeros.
    With `norm="l2"` the scale is ‖x‖₂/√d, so that ‖C(x)‖₂ = ‖x‖₂: 1-bit Adam's, no contraction.

    >>> ScaledSign()(torch.tensor([3.0, -1.0]), step=1, index=0).tolist()
    [2.0, -2.0]
    """

    name = "scaled-sign"

    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """The signs, and their scale."""
        values = wide(x)
        scale = values.abs().mean() if self.norm == "l1" else values.square().mean().sqrt()
        return Message((sign(x), scale), x.shape, x.dtype)

    def decode(self, message: Message) -> Tensor:
        """The scaled signs."""
        signs, scale = message.parts
        return (signs * scale).to(message.dtype)


@dataclass(frozen=True)
class OneBit(OneBitOptions, Compressor):
    """One bit per value, x < 0 or not, decoded as the mean of its side: 1-bit SGD, Seide et al. 2014.

    The two reconstruction values minimise the squared error of each column of the weight matrix; the
    threshold is 0. A tensor of more than two dimensions is the matrix (first dimension × the rest),
    one of fewer a single column. `columns=False` takes one pair of values for the whole tensor.

    >>> OneBit()(torch.tensor([[1.0, -1.0], [3.0, 5.0]]), step=1, index=0).tolist()
    [[2.0, -1.0], [2.0, 5.0]]
    """

    name = "one-bit"

    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """The signs, as "is negative", and for each column the means of its negative and its other values."""
        matrix = wide(x.flatten(1) if self.columns and x.dim() > 1 else x.reshape(-1, 1))
        negative = matrix < 0  # false for NaN, which then makes its column's other mean NaN
        count = negative.sum(0)
        below = matrix.where(negative, 0).sum(0) / count.clamp(min=1)
        above = matrix.where(~negative, 0).sum(0) / (len(matrix) - count).clamp(min=1)
        return Message((negative, below, above), x.shape, x.dtype)

    def decode(self, message: Message) -> Tensor:
        """The mean of the negative or of the other values, for each value."""
        negative, below, above = message.parts
        return torch.where(negative, below, above).to(message.dtype).reshape(message.shape)


@dataclass(frozen=True)
class QSGD(QSGDOptions, Compressor):
    """‖v‖·sign(vᵢ)·ξᵢ, ξᵢ a multiple of 1/s: Alistarh et al. 2017, arXiv 1610.02132, section 3.1.

    With ℓ = ⌊s|vᵢ|/‖v‖⌋, ξᵢ is (ℓ+1)/s with probability s|vᵢ|/‖v‖ − ℓ and else ℓ/s, so E C(v) = v.
    v is a bucket of consecutive coordinates, or with `bucket=None` the tensor.

    Args:
        levels: s; 7 is a 4-bit code: the sign and 8 magnitudes.
        norm: "max", as in the paper's experiments, or "l2", as in its theorems.
        bucket: coordinates that share a norm; the paper's 4-bit runs take 512.
        seed: seed of the rounding.

    >>> QSGD(levels=1, norm="l2", bucket=None)(torch.tensor([0.0, -2.0]), step=1, index=0).tolist()
    [0.0, -2.0]
    """

    name = "qsgd"

    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """The norm of each bucket, and the signs and levels of its coordinates; the last is zero-padded."""
        count, width = self.rows(x.numel())
        rows = torch.nn.functional.pad(wide(x).reshape(-1), (0, count * width - x.numel())).view(-1, width)
        norm = torch.linalg.vector_norm(rows, ord=2 if self.norm == "l2" else torch.inf, dim=1, keepdim=True)
        # the clamp: |v|/‖v‖₂ of a lone non-zero coordinate may round to just above 1
        scaled = (rows.abs() / nonzero(norm) * self.levels).clamp(max=self.levels)
        floor = scaled.floor()
        up = noise.uniform(rows.shape, self.seed, step, index, x.device) < scaled - floor
        return Message((rows.sign(), norm, floor + up), x.shape, x.dtype)

    def rows(self, numel: int) -> tuple[int, int]:
        """Number and width of the buckets of a tensor of `numel` coordinates."""
        width = numel
        if self.bucket is not None:
            # A tensor smaller than its bucket is padded to whole groups only: that takes no memory, and
            # its l2 norm is added up in the order of a full bucket.
            width = min(self.bucket, max(1, -(-width // noise.GROUP)) * noise.GROUP)
        return -(-numel // width), width

    def decode(self, message: Message) -> Tensor:
        """sign · norm · level/s, unbiased."""
        signs, norm, level = message.parts
        decoded = signs * norm * (level / self.levels)
        return decoded.view(-1)[: message.shape.numel()].to(message.dtype).view(message.shape)


@dataclass(frozen=True)
class TernGrad(TernGradOptions, Compressor):
    """s·sign(g)∘b with s = max|g| and P(bᵢ=1) = |gᵢ|/s: Wen et al. 2017, arXiv 1705.07878, eqs. (1)–(3).

    Args:
        clip: clip g to ±clip·σ first, σ the tensor's standard deviation (2.5 in the paper); where σ = 0
            nothing is clipped. None: no clipping; then E C(g) = g.
        seed: seed of the rounding.

    >>> TernGrad(clip=None)(torch.tensor([0.0, -2.0, 2.0]), step=1, index=0).tolist()
    [0.0, -2.0, 2.0]
    """

    name = "terngrad"

    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """The signs, the scale s, and b."""
        g = wide(x)
        if self.clip is not None:
            sigma = g.std(correction=0)
            bound = torch.where(sigma == 0, torch.inf, self.clip * sigma)
            g = g.clamp(-bound, bound)
        scale = g.abs().amax()
        b = noise.uniform(x.shape, self.seed, step, index, x.device) < g.abs() / nonzero(scale)
        return Message((g.sign(), scale, b), x.shape, x.dtype)

    def decode(self, message: Message) -> Tensor:
        """s·sign(g)∘b, unbiased without clipping."""
        signs, scale, b = message.parts
        return (signs * scale * b).to(message.dtype)


@dataclass(frozen=True)
class TopK(TopKOptions, Compressor):
    """The k coordinates of largest magnitude, k = fraction·d rounded, at least 1; the others are 0.

    Stich, Cordonnier, Jaggi 2018, arXiv 1809.07599, Definition 2.2. fraction = 1 is the identity.

    >>> TopK(fraction=0.5)(torch.tensor([1.0, -4.0, 2.0, 0.0]), step=1, index=0).tolist()
    [0.0, -4.0, 2.0, 0.0]
    """

    name = "topk"

    def encode(self, x: Tensor, step: int, index: int) -> Message:
        """The indices that are kept, and their values; a NaN counts as the largest."""
        flat = x.reshape(-1)
        kept = flat.abs().topk(self.kept(x.numel()), sorted=False).indices
        return Message((kept, flat.gather(0, kept)), x.shape, x.dtype)

    def kept(self, numel: int) -> int:
        """Number of coordinates kept out of `numel`."""
        return max(1, round(self.fraction * numel))

    def decode(self, message: Message) -> Tensor:
        """The kept values in their places, 0 elsewhere; deterministic up to ties."""
        kept, values = message.parts
        return values.new_zeros(message.shape.numel()).scatter_(0, kept, values).view(message.shape)


COMPRESSORS: dict[str, type[Compressor]] = {
    kind.name: kind for kind in (ScaledSign, OneBit, QSGD, TernGrad, TopK)
}


def from_dict(values: dict[str, Any]) -> Compressor:
    """Build a compressor from the dict that `Compressor.as_dict` returns.

    Raises:
        ValueError: for an unknown name (the message lists the known ones) or option.
    """
    if not isinstance(values, dict):
        raise ValueError(f"compressor must be a Compressor, its dict or None, got {values!r}")
    options = dict(values)
    name = options.pop("name", None)
    if name not in COMPRESSORS:
        raise ValueError(f"unknown compressor {name!r} (known: {', '.join(sorted(COMPRESSORS))})")
    try:
        return COMPRESSORS[name](**options)
    except TypeError as error:
        raise ValueError(f"compressor {name!r}: {error}") from None


def wide(x: Tensor) -> Tensor:
    """x in at least float32: sums and quotients of half precision lose too much."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def nonzero(norm: Tensor) -> Tensor:
    """Norm as a divisor: 1 where it is 0, where all numerators are 0 too. NaN stays."""
    return torch.where(norm == 0, 1, norm)
