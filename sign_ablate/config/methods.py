"""The optimizers that a method can name, and the options of each.

One model per optimizer. `sign_ablate.optim.registry` builds the optimizer that a model describes.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from sign_ablate.config.base import Model
from sign_ablate.config.method_base import Fraction, NonNegative, Optimizer, Positive
from sign_ablate.config.methods_kin import Kin


class SGD(Optimizer):
    """`torch.optim.SGD`, coupled weight decay."""

    optimizer: Literal["sgd"] = "sgd"
    momentum: Fraction = Field(0.9, description="Heavy-ball momentum.")
    nesterov: bool = Field(False, description="Nesterov momentum.")


class Adam(Optimizer):
    """`torch.optim.Adam`; with `decoupled`, AdamW."""

    optimizer: Literal["adam"] = "adam"
    beta1: Fraction = Field(0.9, description="Decay of the first moment.")
    beta2: Fraction = Field(0.999, description="Decay of the second moment.")
    eps: Positive = Field(1e-8, description="Added to the denominator.")
    decoupled: bool = Field(False, description="Decoupled weight decay (AdamW).")


class SignSGD(Optimizer):
    """SignSGD without momentum: x ← x − δ·sign(g)."""

    optimizer: Literal["signsgd"] = "signsgd"
    decoupled: bool = Field(True, description="Decoupled weight decay: x ← (1 − δ·weight_decay)·x.")


class SignSGDM(SignSGD):
    """SignSGD-M: the sign of the momentum m ← βm + (1−β)g."""

    optimizer: Literal["signsgd-m"] = "signsgd-m"  # type: ignore[assignment]
    beta: Fraction = Field(0.9, description="Momentum β.")


class Dither(Model):
    """The options of a dithered method, eqs. (9) and (10)."""

    site: Literal["pre", "post"] = Field(description="Noise before the sign, or added to it.")
    alpha: NonNegative = Field(description="Initial dither variance α of σ_k² = α(1+k)^−γ.")
    gamma: NonNegative = Field(0.55, description="Annealing exponent γ; 0 keeps σ constant.")


class Switch(Model):
    """The switch to SGD after T_switch epochs."""

    t_switch: int = Field(ge=0, description="Epochs of the sign phase, T_switch.")


class Calibration(Switch):
    """The projection-calibrated switch, eqs. (11) and (12)."""

    eta: Fraction = Field(0.999, description="Decay η of the moving average λ̄ (bias-corrected).")
    eps: NonNegative = Field(1e-12, description="ϵ of eq. (12).")


class Dithered(SignSGDM, Dither):
    """SignSGD-M with dither: Algorithm 1 (`site: pre`) or eq. (10) (`site: post`)."""

    optimizer: Literal["dithered"] = "dithered"  # type: ignore[assignment]


class Hybrid(SignSGDM, Calibration):
    """SignSGD-M, then SGD with the projected learning rate λ̄: Algorithm 2."""

    optimizer: Literal["hybrid"] = "hybrid"  # type: ignore[assignment]


class DitheredHybrid(SignSGDM, Dither, Calibration):
    """Algorithm 2 with dither in its sign phase."""

    optimizer: Literal["dithered-hybrid"] = "dithered-hybrid"  # type: ignore[assignment]


class NaiveSwitch(SignSGDM, Switch):
    """SignSGD-M, then SGD without calibration: the hand-off that the paper calls unstable."""

    optimizer: Literal["naive-switch"] = "naive-switch"  # type: ignore[assignment]
    sgd_lr: Positive | None = Field(None, description="Learning rate after the switch; unset: δ is reused.")


Method = Annotated[
    SGD | Adam | SignSGD | SignSGDM | Dithered | Hybrid | DitheredHybrid | NaiveSwitch | Kin,
    Field(discriminator="optimizer"),
]

#: name → options, in the order of the paper's rows
OPTIMIZERS: dict[str, type[Optimizer]] = {
    model.model_fields["optimizer"].default: model for model in get_args(get_args(Method)[0])
}
