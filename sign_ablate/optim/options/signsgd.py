"""The options of SignSGD."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from sign_ablate.optim.options.declare import ABOVE_0, AT_LEAST_0, FRACTION, Need, Option
from sign_ablate.optim.options.shared import (
    ANNEALED,
    MOMENTUM,
    Decoupled,
    Foreach,
    Lr,
    Maximize,
    Seed,
    StepsPerEpoch,
    WeightDecay,
)


def _pre(o: Mapping[str, Any]) -> bool:
    return bool(o["dither"] == "pre")


def _scaled(o: Mapping[str, Any]) -> bool:
    """Return True if the scale of m matters, as it does for dither of absolute size before the sign."""
    return _pre(o) and bool(o["scale"] == "absolute")


def _coupled(o: Mapping[str, Any]) -> bool:
    return not o["decoupled"] and bool(o["weight_decay"] > 0)


DITHERED = Need("without dither", lambda o: o["dither"] is not None)


@dataclass(frozen=True)
class SignSGDOptions:
    """The options of SignSGD, SignSGD-M and their dithered forms."""

    lr: Lr = 1e-3
    beta: Annotated[float, Option("Momentum; 0 is SignSGD.", FRACTION, "β")] = 0.9
    _: KW_ONLY
    weight_decay: WeightDecay = 0.0
    decoupled: Decoupled = True
    momentum_form: Annotated[
        Literal["ema", "heavy_ball"],
        Option(
            "m ← βm + (1−β)g or m ← βm + g: its scale against σ_k.",
            needs=(
                MOMENTUM,
                Need("on a sign: only absolute pre-sign dither sees the scale of m", _scaled),
            ),
        ),
    ] = "ema"
    loss_scale: Annotated[
        float,
        Option(
            "Multiplies the gradient: batch_size makes it that of a summed loss.",
            ABOVE_0,
            needs=(
                Need(
                    "on a sign: only absolute pre-sign dither, coupled weight decay and SGD after a naive "
                    "switch see the scale of g",
                    lambda o: _scaled(o) or _coupled(o) or not o.get("calibrate", True),
                ),
            ),
        ),
    ] = 1.0
    momentum_dtype: Annotated[
        Literal["bfloat16"] | None,
        Option("Keep m in bfloat16, beside float32 or float64 parameters.", needs=(MOMENTUM,)),
    ] = None
    sign_of_zero: Annotated[
        Literal["zero", "plus", "random"],
        Option(
            "sign(0): 0, +1, or ±1 at random.",
            needs=(Need("with pre-sign dither, which decides the sign of 0", lambda o: not _pre(o)),),
        ),
    ] = "zero"
    dither: Annotated[Literal["pre", "post"] | None, Option("Noise before the sign, or added to it.")] = None
    alpha: Annotated[
        float,
        Option("Initial dither variance α of σ_k² = α(1+k)^−γ.", AT_LEAST_0, "α", needs=(DITHERED,)),
    ] = 0.0
    gamma: Annotated[
        float,
        Option("Annealing exponent γ; 0 keeps σ constant.", AT_LEAST_0, "γ", needs=(DITHERED,)),
    ] = 0.55
    law: Annotated[
        Literal["gaussian", "uniform", "subtractive"],
        Option(
            "Law of the noise; uniform: on ±√3·σ_k; subtractive: uniform, subtracted again after the sign.",
            needs=(
                DITHERED,
                Need(
                    "pre-sign dither: the noise that was added before the sign is subtracted after it",
                    lambda o: o["dither"] != "post",
                    value="subtractive",
                ),
            ),
        ),
    ] = "gaussian"
    scale: Annotated[
        Literal["absolute", "global_rms", "tensor_rms"],
        Option(
            "Unit of σ_k: 1, or the rms of m over all parameters or each tensor.",
            needs=(Need("without pre-sign dither: a sign has rms 1", _pre),),
        ),
    ] = "absolute"
    k_unit: Annotated[
        Literal["step", "epoch"],
        Option(
            "Unit of k in σ_k.",
            needs=(DITHERED, ANNEALED),
        ),
    ] = "step"
    steps_per_epoch: StepsPerEpoch = None
    seed: Seed = 0
    stochastic_rounding: Annotated[
        bool,
        Option(
            "Round bfloat16 parameters stochastically, without bias: small steps are not lost.",
            configured=False,
        ),
    ] = False
    maximize: Maximize = False
    foreach: Foreach = None
    fused: Annotated[
        bool | None,
        Option(
            "The step in one pass, compiled C on a CPU, a Triton kernel on CUDA; None: where it applies "
            "(dense float32; on CUDA also bfloat16). With True the first step fails where it does not.",
            configured=False,
        ),
    ] = None
    differentiable: Annotated[
        bool, Option("Let autograd record the step.", shared=True, configured=False)
    ] = False
    capturable: Annotated[
        bool,
        Option(
            "Keep the step on the device, for CUDA graphs and torch.compile.", shared=True, configured=False
        ),
    ] = False
