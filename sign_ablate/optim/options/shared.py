"""Options that several optimizers have."""

from typing import TYPE_CHECKING, Annotated, Literal

from sign_ablate.optim.options.declare import ABOVE_0, AT_LEAST_0, FRACTION, Need, Option

MOMENTUM = Need("without momentum", lambda o: o["beta"] > 0)
ANNEALED = Need("with gamma 0: σ is constant", lambda o: o["gamma"] > 0)
BY_EPOCH = Need("with k_unit 'step'", lambda o: o["k_unit"] == "epoch")
DECAYING = Need("without weight_decay", lambda o: o["weight_decay"] > 0)
#: parts of Adam's betas
ADAM = (("beta1", "Decay of the first moment."), ("beta2", "Decay of the second moment."))

if TYPE_CHECKING:
    from torch import Tensor

    Lr = float | Tensor
else:
    Lr = Annotated[float, Option("Learning rate; a number or a tensor of one element.", AT_LEAST_0, "δ")]

WeightDecay = Annotated[float, Option("Weight decay.", AT_LEAST_0)]
Maximize = Annotated[bool, Option("Ascend instead of descend.", configured=False)]
Foreach = Annotated[
    bool | None,
    Option("torch's foreach functions; None: where torch's own optimizers use them.", configured=False),
]
Momentum = Annotated[float, Option("Heavy-ball momentum.", FRACTION, "μ")]
Nesterov = Annotated[
    bool, Option("Nesterov momentum.", needs=(Need("without momentum", lambda o: o["momentum"] > 0),))
]
MomentumForm = Annotated[
    Literal["ema", "heavy_ball"],
    Option("m ← βm + (1−β)g or m ← βm + g: its scale against σ_k.", needs=(MOMENTUM,)),
]
Gamma = Annotated[float, Option("Annealing exponent γ; 0 keeps σ constant.", AT_LEAST_0, "γ")]
KUnit = Annotated[Literal["step", "epoch"], Option("Unit of k in σ_k.", needs=(ANNEALED,))]
StepsPerEpoch = Annotated[
    int | None,
    Option("Steps per epoch.", ABOVE_0, needs=(BY_EPOCH,), asked_by="k_unit", configured=False),
]
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
