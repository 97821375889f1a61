"""The options of the optimizers that are kin to SignSGD, each from its own paper (docs/optim)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sign_ablate.config.method_base import Fraction, NonNegative, Optimizer, Positive


class Lion(Optimizer):
    """Lion (arXiv 2302.06675): the sign of a momentum, decoupled weight decay."""

    optimizer: Literal["lion"] = "lion"
    beta1: Fraction = Field(0.9, description="β₁, with which the momentum is read.")
    beta2: Fraction = Field(0.99, description="β₂, with which the momentum is written; β₁ = β₂ is SignSGD-M.")


class Compressed(Optimizer):
    """The options of every gradient compressor: SGD behind a lossy channel."""

    momentum: Fraction = Field(0.0, description="Heavy-ball momentum.")
    momentum_after: bool = Field(False, description="Momentum of what is decoded, not of what is sent.")
    decoupled: bool = Field(False, description="Decoupled weight decay, which bypasses the compressor.")

    @model_validator(mode="after")
    def _needs(self) -> Self:
        _no_effect(self, "momentum_after", "momentum")
        _no_effect(self, "decoupled", "weight_decay")
        return self


class ScaledSign(Compressed):
    """Scaled sign (arXiv 1901.09847): x ← x − lr·(‖g‖₁/d)·sign(g)."""

    optimizer: Literal["scaled-sign"] = "scaled-sign"


class EFSignSGD(Compressed):
    """EF-SignSGD (arXiv 1901.09847): scaled sign with error feedback."""

    optimizer: Literal["ef-signsgd"] = "ef-signsgd"


class OneBitSGD(Compressed):
    """1-bit SGD (Seide et al. 2014): two reconstruction values, the means of either sign."""

    optimizer: Literal["onebit-sgd"] = "onebit-sgd"
    error_feedback: bool = Field(True, description="Carry the quantization error into the next step.")
    columns: bool = Field(True, description="Reconstruction values per matrix column; false: per tensor.")


class QSGD(Compressed):
    """QSGD (arXiv 1610.02132): unbiased stochastic rounding to s levels."""

    optimizer: Literal["qsgd"] = "qsgd"
    error_feedback: bool = Field(False, description="Carry the quantization error into the next step.")
    levels: int = Field(7, ge=1, description="Levels s of a magnitude; 7 is a 4-bit code.")
    norm: Literal["max", "l2"] = Field("max", description="Norm of a bucket; l2 is the theorems'.")
    bucket: Annotated[int, Field(ge=1)] | None = Field(512, description="Coordinates per norm; null: all.")


class TernGrad(Compressed):
    """TernGrad (arXiv 1705.07878): unbiased stochastic rounding to −s, 0, s with s = max|g|."""

    optimizer: Literal["terngrad"] = "terngrad"
    error_feedback: bool = Field(False, description="Carry the quantization error into the next step.")
    clip: Positive | None = Field(2.5, description="Clip at so many standard deviations; null: do not.")


class TopK(Compressed):
    """Top-k sparsification (arXiv 1809.07599): the largest coordinates of every tensor."""

    optimizer: Literal["topk"] = "topk"
    error_feedback: bool = Field(True, description="Keep what was not sent for later steps.")
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(0.01, description="Fraction of coordinates sent.")


class SWATS(Optimizer):
    """SWATS (arXiv 1712.07628): Adam, then SGD with a projected learning rate, switched by itself."""

    optimizer: Literal["swats"] = "swats"
    beta1: Fraction = Field(0.9, description="Decay of the first moment, and SGD's momentum.")
    beta2: Fraction = Field(0.999, description="Decay of the second moment and of λ.")
    eps: Positive = Field(1e-9, description="Added to Adam's denominator.")
    tol: NonNegative = Field(1e-9, description="Switch once |λ̄ − γ| is below this.")
    scope: Literal["global", "tensor"] = Field("global", description="One switch, or one per tensor.")


class OneBitAdam(Optimizer):
    """1-bit Adam (arXiv 2102.02888): Adam, then compressed momentum with a frozen variance."""

    optimizer: Literal["onebit-adam"] = "onebit-adam"
    warmup_steps: int = Field(ge=1, description="Steps of Adam, T_w; 15–25 % of all in the paper.")
    beta1: Fraction = Field(0.9, description="Decay of the first moment.")
    beta2: Fraction = Field(0.999, description="Decay of the second moment.")
    eps: Positive = Field(1e-8, description="Added to the denominator.")
    norm: Literal["l2", "l1"] = Field("l2", description="Scale of the sign: l2, ‖p‖₂/√d; l1, ‖p‖₁/d.")
    bias_correction: bool = Field(False, description="Adam's bias correction, which the paper disables.")
    decoupled: bool = Field(False, description="Decoupled weight decay.")

    @model_validator(mode="after")
    def _needs(self) -> Self:
        _no_effect(self, "decoupled", "weight_decay")
        return self


def _no_effect(model: Optimizer, option: str, needed: str) -> None:
    if getattr(model, option) and not getattr(model, needed):
        raise ValueError(f"{option} has no effect without {needed}")


Kin = Lion | ScaledSign | EFSignSGD | OneBitSGD | QSGD | TernGrad | TopK | SWATS | OneBitAdam
