"""The optimizers that a method can name, and the options of each.

One model per optimizer. `sign_ablate.optim.registry` builds the optimizer that a model describes.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from sign_ablate import rules
from sign_ablate.config.base import Model
from sign_ablate.config.method_base import Fraction, NonNegative, Optimizer, Positive
from sign_ablate.config.methods_kin import Kin


class SGD(Optimizer):
    """`torch.optim.SGD`, coupled weight decay."""

    optimizer: Literal["sgd"] = "sgd"
    momentum: Fraction = Field(0.9, description="Heavy-ball momentum.")
    nesterov: bool = Field(False, description="Nesterov momentum.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov has no effect without momentum")
        return self


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
    sign_of_zero: Literal["zero", "plus", "random"] = Field(
        "zero", description="sign(0): 0, +1, or ±1 at random."
    )
    loss_scale: Positive = Field(
        1.0, description="Multiplies the gradient: batch_size makes it that of a summed loss."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        options: dict[str, Any] = {
            "beta": 0.0,
            **self.model_dump(),
            "calibrate": not isinstance(self, NaiveSwitch),
        }
        options["dither"] = options.pop("site", None)
        problems = [*rules.missing(options), *rules.inert(options)]
        if problems:
            raise ValueError(problems[0])
        return self


class SignSGDM(SignSGD):
    """SignSGD-M: the sign of the momentum m ← βm + (1−β)g."""

    optimizer: Literal["signsgd-m"] = "signsgd-m"  # type: ignore[assignment]
    beta: Fraction = Field(0.9, description="Momentum β.")
    momentum_dtype: Literal["bfloat16"] | None = Field(None, description="Keep m in bfloat16.")


class Dither(Model):
    """The options of a dithered method, eqs. (9) and (10)."""

    site: Literal["pre", "post"] = Field(description="Noise before the sign, or added to it.")
    alpha: NonNegative = Field(description="Initial dither variance α of σ_k² = α(1+k)^−γ.")
    gamma: NonNegative = Field(0.55, description="Annealing exponent γ; 0 keeps σ constant.")
    law: Literal["gaussian", "uniform", "subtractive"] = Field(
        "gaussian", description="Law of the noise; subtractive: uniform, and subtracted again after the sign."
    )
    scale: Literal["absolute", "global_rms", "tensor_rms"] = Field(
        "absolute", description="What σ_k multiplies: 1, or the rms of m over all parameters or each tensor."
    )
    k_unit: Literal["step", "epoch"] = Field("step", description="What k counts in σ_k.")
    momentum_form: Literal["ema", "heavy_ball"] = Field(
        "ema", description="m ← βm + (1−β)g or m ← βm + g: its scale against σ_k."
    )


class Switch(Model):
    """The switch to SGD after T_switch epochs."""

    t_switch: int = Field(gt=0, description="Epochs of the sign phase, T_switch.")
    sgd_momentum: Literal["none", "swats"] = Field(
        "none", description="After the switch: plain SGD, or v ← βv + g, x ← x − (1−β)λ̄v."
    )


class Calibration(Switch):
    """The projection-calibrated switch, eqs. (11) and (12)."""

    t_switch: int | None = Field(  # type: ignore[assignment]
        None, gt=0, description="Epochs of the sign phase, T_switch (trigger: fixed)."
    )
    trigger: Literal["fixed", "stable", "swats", "plateau"] = Field(
        "fixed",
        description="What switches: t_switch, a stable λ̄, SWATS's rule, or a plateau of the loss.",
    )
    tolerance: Positive | None = Field(None, description="Of the trigger: relative (swats: absolute).")
    patience: int | None = Field(None, gt=0, description="Steps that the trigger waits (stable, plateau).")
    eta: Fraction = Field(0.999, description="Decay η of the moving average λ̄ (bias-corrected).")
    bias_correction: bool = Field(True, description="Divide λ̄ by 1 − ηᵏ; Algorithm 2 does not.")
    eps: NonNegative = Field(1e-12, description="ϵ of eq. (12).")
    lambda_rule: Literal["paper", "swats"] = Field(
        "paper", description="Project the sign step on the gradient, or SWATS's inverse rule."
    )
    lambda_scope: Literal["global", "group", "tensor"] = Field(
        "global", description="One λ for all parameters, each group, or each tensor."
    )
    lambda_momentum: Literal["updated", "previous"] = Field(
        "updated", description="Sign of m after this gradient, or before it."
    )
    lambda_schedule: Literal["relative", "frozen"] = Field(
        "relative", description="λ̄ follows the schedule of lr after the switch, or stays."
    )

    @model_validator(mode="after")
    def _switches(self) -> Self:
        if self.trigger == "fixed" and self.t_switch is None:
            raise ValueError("t_switch: required, but missing (or choose a trigger)")
        return self


class Dithered(SignSGDM, Dither):
    """SignSGD-M with dither: Algorithm 1 (`site: pre`) or eq. (10) (`site: post`)."""

    optimizer: Literal["dithered"] = "dithered"  # type: ignore[assignment]


class Hybrid(SignSGDM, Calibration):
    """SignSGD-M, then SGD with the projected learning rate λ̄: Algorithm 2."""

    optimizer: Literal["hybrid"] = "hybrid"  # type: ignore[assignment]


class DitheredHybrid(SignSGDM, Dither, Calibration):
    """Algorithm 2 with dither in its sign phase."""

    optimizer: Literal["dithered-hybrid"] = "dithered-hybrid"  # type: ignore[assignment]
    lambda_step: Literal["clean", "applied"] = Field(
        "clean", description="Project sign(m), or the dithered step."
    )


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
