"""The options of HybridSignSGD."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from sign_ablate.optim.options.declare import ABOVE_0, AT_LEAST_0, FRACTION, Need, Option
from sign_ablate.optim.options.shared import MOMENTUM
from sign_ablate.optim.options.signsgd import DITHERED, SignSGDOptions

CALIBRATED = Need("without calibrate", lambda o: o["calibrate"])
GLOBAL_SIGN = Need(
    "lambda_scope 'global': the length is that of the whole step",
    lambda o: o["lambda_scope"] == "global",
    value="sign",
)


@dataclass(frozen=True)
class HybridSignSGDOptions(SignSGDOptions):
    """SignSGD's options, and those of the switch to SGD."""

    _: KW_ONLY
    trigger: Annotated[
        Literal["fixed", "stable", "swats", "plateau"],
        Option(
            "Trigger of the switch: T_switch, a stable λ̄, SWATS's rule, or a plateau of the loss.",
            needs=(CALIBRATED,),
            shared=True,
        ),
    ] = "fixed"
    switch_step: Annotated[
        int | None,
        Option(
            "T_switch in steps; 0: SGD from the start with λ̄ = lr; None with trigger 'fixed': never.",
            AT_LEAST_0,
            "T_switch",
            needs=(Need("with an automatic trigger", lambda o: o["trigger"] == "fixed"),),
            shared=True,
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        Option(
            "Tolerance of the trigger: relative (swats: absolute).",
            ABOVE_0,
            needs=(Need("without an automatic trigger", lambda o: o["trigger"] != "fixed"),),
            asked_by="trigger",
            shared=True,
        ),
    ] = None
    patience: Annotated[
        int | None,
        Option(
            "Steps that the trigger waits (stable, plateau).",
            ABOVE_0,
            needs=(
                Need(
                    "without trigger 'stable' or 'plateau'", lambda o: o["trigger"] in ("stable", "plateau")
                ),
            ),
            asked_by="trigger",
            shared=True,
        ),
    ] = None
    eta: Annotated[
        float,
        Option("Decay η of the moving average λ̄ (bias-corrected).", FRACTION, "η", needs=(CALIBRATED,)),
    ] = 0.999
    bias_correction: Annotated[
        bool,
        Option(
            "Divide λ̄ by 1 − ηᵏ; Algorithm 2 does not.",
            needs=(CALIBRATED, Need("with eta 0", lambda o: o["eta"] > 0)),
        ),
    ] = True
    eps: Annotated[float, Option("ϵ of eq. (12).", AT_LEAST_0, "ϵ", needs=(CALIBRATED,))] = 1e-12
    lambda_rule: Annotated[
        Literal["paper", "swats"],
        Option(
            "Project the sign step on the gradient (eq. 11), or SWATS's inverse rule, ‖s‖²/(|⟨s, g⟩| + ϵ).",
            needs=(CALIBRATED,),
        ),
    ] = "paper"
    lambda_scope: Annotated[
        Literal["global", "group", "tensor"],
        Option("One λ for all parameters, or per group or tensor.", needs=(CALIBRATED,)),
    ] = "global"
    lambda_step: Annotated[
        Literal["clean", "applied"],
        Option(
            "Project sign(m), or the dithered step.",
            needs=(
                CALIBRATED,
                Need("without dither: the applied step is the clean one", DITHERED.holds),
            ),
        ),
    ] = "clean"
    lambda_momentum: Annotated[
        Literal["updated", "previous"],
        Option(
            "Sign of m after this gradient, or before it.",
            needs=(
                CALIBRATED,
                MOMENTUM,
                Need("on the applied step", lambda o: o["lambda_step"] != "applied"),
            ),
        ),
    ] = "updated"
    lambda_schedule: Annotated[
        Literal["relative", "frozen"],
        Option("λ̄ follows the schedule of lr after the switch, or stays.", needs=(CALIBRATED,)),
    ] = "relative"
    calibrate: Annotated[
        bool, Option("False is the naive hand-off: no projection, SGD steps with `sgd_lr`.", shared=True)
    ] = True
    sgd_lr: Annotated[
        float | None,
        Option(
            "Learning rate at the naive hand-off, before the factor loss_scale; follows lr; unset: δ.",
            ABOVE_0,
            needs=(Need("with calibrate", lambda o: not o["calibrate"]),),
        ),
    ] = None
    sgd_momentum: Annotated[
        Literal["none", "swats"],
        Option(
            "After the switch: plain SGD, or v ← βv + g, x ← x − (1−β)λ̄v from v = 0.",
            needs=(
                MOMENTUM,
                Need("with after 'sign'", lambda o: o["after"] == "gradient"),
                Need("length 'projected'", lambda o: o["length"] == "projected", value="swats"),
            ),
        ),
    ] = "none"
    after: Annotated[
        Literal["gradient", "sign"],
        Option("Direction after the switch: g, or sign(m).", needs=(CALIBRATED, GLOBAL_SIGN), shared=True),
    ] = "gradient"
    length: Annotated[
        Literal["projected", "kept"],
        Option(
            "Length of the step after the switch: λ̄‖g‖, or that of a sign step, δ√d.",
            needs=(CALIBRATED,),
            shared=True,
        ),
    ] = "projected"
