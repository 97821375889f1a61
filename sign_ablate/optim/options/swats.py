"""The options of SWATS."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from sign_ablate.optim.options.declare import AT_LEAST_0, FRACTION, Option
from sign_ablate.optim.options.shared import AdamEps, Foreach, Lr, Maximize, WeightDecay


@dataclass(frozen=True)
class SWATSOptions:
    """The options of SWATS."""

    lr: Lr = 1e-3
    betas: Annotated[
        tuple[float, float],
        Option(
            "Decay of Adam's moments; β₁ is SGD's momentum too, and β₂ the decay of λ.",
            FRACTION,
            "β₁, β₂",
            parts=(
                ("beta1", "Decay of the first moment, and SGD's momentum."),
                ("beta2", "Decay of the second moment and of λ."),
            ),
        ),
    ] = (0.9, 0.999)
    _: KW_ONLY
    eps: AdamEps = 1e-9
    tol: Annotated[float, Option("Switch once |λ̄ − γ| is below this, absolutely.", AT_LEAST_0)] = 1e-9
    scope: Annotated[Literal["global", "tensor"], Option("One switch, or one per tensor.")] = "global"
    weight_decay: WeightDecay = 0.0
    maximize: Maximize = False
    foreach: Foreach = None
