"""Options that several optimizers have."""

from typing import TYPE_CHECKING, Annotated

from sign_ablate.optim.options.declare import AT_LEAST_0, FRACTION, Need, Option

DECAYING = Need("without weight_decay", lambda o: o["weight_decay"] > 0)
#: for the first pair of an Adam
ADAM = (("beta1", "Decay of the first moment."), ("beta2", "Decay of the second moment."))

if TYPE_CHECKING:
    from torch import Tensor

    Lr = float | Tensor
else:
    Lr = Annotated[float, Option("Learning rate; a number or a tensor of one element.", AT_LEAST_0, "δ")]

WeightDecay = Annotated[float, Option("Weight decay.", AT_LEAST_0)]
Maximize = Annotated[bool, Option("Ascend instead of descend.", configured=False)]
Momentum = Annotated[float, Option("Heavy-ball momentum.", FRACTION, "μ")]
Seed = Annotated[
    int,
    Option("Seed of all noise. Two optimizers with one seed draw the same noise.", configured=False),
]
AdamBetas = Annotated[tuple[float, float], Option("Decay of both moments.", FRACTION, "β₁, β₂", parts=ADAM)]
AdamEps = Annotated[float, Option("Added to the denominator.", AT_LEAST_0, "ϵ")]
Decoupled = Annotated[
    bool,
    Option("Decoupled weight decay, x ← (1 − δ·weight_decay)·x; else added to g.", needs=(DECAYING,)),
]
