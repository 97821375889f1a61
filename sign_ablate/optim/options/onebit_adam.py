"""The options of 1-bit Adam."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from sign_ablate.optim.options.declare import AT_LEAST_1, Option
from sign_ablate.optim.options.shared import AdamBetas, AdamEps, Decoupled, Foreach, Lr, Maximize, WeightDecay


@dataclass(frozen=True)
class OneBitAdamOptions:
    """The options of 1-bit Adam."""

    lr: Lr = 1e-3
    betas: AdamBetas = (0.9, 0.999)
    _: KW_ONLY
    warmup_steps: Annotated[int, Option("Steps of Adam; 15–25 % of all in the paper.", AT_LEAST_1, "T_w")]
    eps: AdamEps = 1e-8
    norm: Annotated[
        Literal["l1", "l2"],
        Option("Scale of the sign: l2, ‖p‖₂/√d, as in the authors' code; l1, ‖p‖₁/d."),
    ] = "l2"
    bias_correction: Annotated[
        bool, Option("Adam's bias correction, frozen for v with it. The paper disables it.")
    ] = False
    weight_decay: WeightDecay = 0.0
    decoupled: Decoupled = False
    maximize: Maximize = False
    foreach: Foreach = None
