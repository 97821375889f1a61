"""The options of Lion."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from sign_ablate.optim.options.declare import FRACTION, Option
from sign_ablate.optim.options.shared import Foreach, Lr, Maximize, WeightDecay


@dataclass(frozen=True)
class LionOptions:
    """The options of Lion."""

    lr: Lr = 1e-4
    betas: Annotated[
        tuple[float, float],
        Option(
            "Decay rates with which the momentum is read and written.",
            FRACTION,
            "β₁, β₂",
            parts=(
                ("beta1", "β₁, with which the momentum is read."),
                ("beta2", "β₂, with which the momentum is written; β₁ = β₂ is SignSGD-M."),
            ),
        ),
    ] = (0.9, 0.99)
    _: KW_ONLY
    weight_decay: WeightDecay = 0.0
    maximize: Maximize = False
    foreach: Foreach = None
