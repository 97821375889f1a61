"""The options of the baselines, torch's own optimizers."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from sign_ablate.optim.options.declare import Option
from sign_ablate.optim.options.shared import AdamBetas, AdamEps, Lr, Momentum, Nesterov, WeightDecay


@dataclass(frozen=True)
class SGDOptions:
    """The options of `torch.optim.SGD` that a configuration may set."""

    lr: Lr = 1e-3
    _: KW_ONLY
    weight_decay: WeightDecay = 0.0
    momentum: Momentum = 0.9
    nesterov: Nesterov = False


@dataclass(frozen=True)
class AdamOptions:
    """The options of `torch.optim.Adam` that a configuration may set."""

    lr: Lr = 1e-3
    betas: AdamBetas = (0.9, 0.999)
    _: KW_ONLY
    eps: AdamEps = 1e-8
    weight_decay: WeightDecay = 0.0
    decoupled: Annotated[bool, Option("Decoupled weight decay (AdamW).")] = False
