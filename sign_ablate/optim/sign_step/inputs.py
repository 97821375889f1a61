"""The inputs of a sign step: the constants of a parameter group, and the tensors of a parameter."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim import noise

#: a parameter's local tensor, its gradient, its momentum, its number among all, and its number in the group
Tensors = tuple[Tensor, Tensor, Tensor | None, int, int]
#: elements of a block: 256 KiB of float32
BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Projection:
    """Settings of λ_k, the projection of the sign step on the gradient, eqs. (11) and (12)."""

    applied: bool  #: measure the applied, dithered step instead of sign(m)
    previous: bool  #: measure the momentum before its update
    energy: bool  #: also compute ‖s‖², for the rule of SWATS


@dataclasses.dataclass(frozen=True, slots=True)
class StepConstants:
    """The constants of one parameter group at one step, in the paper's symbols."""

    lr: float | Tensor  #: δ
    beta: float
    heavy_ball: bool
    decay: float | Tensor | None  #: 1 − δ·weight_decay
    coupled: float  #: weight decay that is added to the gradient
    factor: float  #: of the gradient; negative to maximize
    zero: str
    dither: str | None
    law: str
    sigma: float | Tensor  #: σ_k; 0 without dither
    seed: int
    step: int | Tensor
    stochastic: bool  #: stochastic rounding of 16-bit parameters
    phase: bool | Tensor = False  #: True in the SGD phase; a tensor if known only on the device
    lam: float | Tensor = 0.0  #: λ̄; if 1-dimensional, one value per parameter of the group
    sgd_momentum: bool = False
    first_sgd: bool | Tensor = False  #: this is the first SGD step
    project: Projection | None = None

    @property
    def noisy(self) -> bool:
        """True if the step draws random numbers."""
        return self.dither is not None or self.zero == "random" or self.stochastic


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A parameter at one step: real, local tensors, 1-dimensional in memory order where possible."""

    p: Tensor
    g: Tensor
    m: Tensor | None
    index: int  #: number among all parameters, which keys the noise
    slot: int  #: number in its group
    first: int  #: number of the first coordinate: not 0 in a shard
    #: strides of the coordinates' numbers, where they are not those of C order, as in some shards
    numbers: tuple[int, ...] | None = None

    def blocks(self) -> Iterator["Item"]:
        """The item in pieces along its first dimension, so that temporaries stay in the cache."""
        p = self.p
        whole = p.numel() <= BLOCK or p.device.type != "cpu"
        if whole or torch.compiler.is_compiling() or (p.requires_grad and torch.is_grad_enabled()):
            yield self
            return
        row = p.numel() // len(p)
        step = row if self.numbers is None else self.numbers[0]
        rows = max(1, BLOCK // row)
        for a in range(0, len(p), rows):
            m = None if self.m is None else self.m[a : a + rows]
            yield dataclasses.replace(
                self, p=p[a : a + rows], g=self.g[a : a + rows], m=m, first=self.first + a * step
            )

    def words(self, const: StepConstants, stream: int) -> Tensor:
        """Random words of the parameter's shape."""
        return self.random(const.seed, const.step, stream)

    def random(self, seed: int, step: int | Tensor, stream: int) -> Tensor:
        """Random words of the parameter's shape.

        Where the coordinates' numbers have gaps, the words in between are drawn too.
        """
        p, numbers, count = self.p, self.numbers, self.p.numel()
        if numbers is not None:
            count = 1 + sum((size - 1) * number for size, number in zip(p.shape, numbers, strict=True))
        words = noise.words(count, seed, step, self.index, p.device, first=self.first, stream=stream)
        return words.view(p.shape) if numbers is None else words.as_strided(p.shape, numbers)

    def lam(self, const: StepConstants) -> float | Tensor:
        """λ̄ of this parameter."""
        lam = const.lam
        return lam[self.slot] if isinstance(lam, Tensor) and lam.dim() == 1 and lam.numel() > 1 else lam


def sigma_k(group: dict[str, Any], step: int | Tensor | None = None) -> float | Tensor:
    """σ_k of eq. (9), 0 without dither."""
    if group["dither"] is None:
        return 0.0
    return annealed(group, group["step"] if step is None else step)


def annealed(group: dict[str, Any], k: int | Tensor) -> float | Tensor:
    """σ_k = √(α(1+k)^−γ) at step k."""
    if group["alpha"] == 0:
        return 0.0
    if group["k_unit"] == "epoch":
        k = k // group["steps_per_epoch"]
    gamma = float(group["gamma"])  # a tensor of integers has no negative integer power
    variance = group["alpha"] * (1 + k) ** -gamma
    return variance.sqrt() if isinstance(variance, Tensor) else math.sqrt(variance)


def work_dtype(p: Tensor) -> torch.dtype:
    """Dtype of the computation: float32 for 16-bit parameters, otherwise the parameter's."""
    return torch.float32 if p.dtype in (torch.bfloat16, torch.float16) else p.dtype
