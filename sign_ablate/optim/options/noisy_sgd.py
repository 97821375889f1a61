"""The options of NoisySGD."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from sign_ablate.optim.options.declare import AT_LEAST_0, Option
from sign_ablate.optim.options.shared import (
    Foreach,
    Gamma,
    KUnit,
    Lr,
    Maximize,
    Momentum,
    Nesterov,
    Seed,
    StepsPerEpoch,
    WeightDecay,
)


@dataclass(frozen=True)
class NoisySGDOptions:
    """The options of SGD with annealed gradient noise."""

    lr: Lr = 1e-3
    _: KW_ONLY
    alpha: Annotated[float, Option("Initial variance α of the noise, σ_k² = α(1+k)^−γ.", AT_LEAST_0, "α")]
    gamma: Gamma = 0.55
    k_unit: KUnit = "step"
    steps_per_epoch: StepsPerEpoch = None
    momentum: Momentum = 0.9
    nesterov: Nesterov = False
    weight_decay: WeightDecay = 0.0
    seed: Seed = 0
    maximize: Maximize = False
    foreach: Foreach = None
