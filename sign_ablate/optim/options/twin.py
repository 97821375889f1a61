"""The options of LinearTwin."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from sign_ablate.optim.options.declare import ABOVE_0, FRACTION, Option
from sign_ablate.optim.options.shared import (
    Decoupled,
    Foreach,
    Gamma,
    KUnit,
    Lr,
    Maximize,
    MomentumForm,
    Seed,
    StepsPerEpoch,
    WeightDecay,
)


@dataclass(frozen=True)
class LinearTwinOptions:
    """The options of the linear twin of pre-sign dither: those of SignSGD that enter m and σ_k."""

    lr: Lr = 1e-3
    beta: Annotated[float, Option("Momentum.", FRACTION, "β")] = 0.9
    _: KW_ONLY
    alpha: Annotated[float, Option("Initial variance α of σ_k² = α(1+k)^−γ.", ABOVE_0, "α")]
    gamma: Gamma = 0.55
    k_unit: KUnit = "step"
    steps_per_epoch: StepsPerEpoch = None
    momentum_form: MomentumForm = "ema"
    loss_scale: Annotated[
        float, Option("Multiplies the gradient: batch_size makes it that of a summed loss.", ABOVE_0)
    ] = 1.0
    noise: Annotated[bool, Option("Add ±δ at random to each coordinate.")] = False
    weight_decay: WeightDecay = 0.0
    decoupled: Decoupled = True
    seed: Seed = 0
    maximize: Maximize = False
    foreach: Foreach = None
