"""Which options of the sign-based optimizers have no effect beside which others.

One table for the optimizers' constructors and for the configuration: an option that a combination
would ignore is an error in both. Needs nothing but the standard library.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Options = Mapping[str, Any]


def _pre(o: Options) -> bool:
    return o.get("dither") == "pre"


def _dithered(o: Options) -> bool:
    return o.get("dither") is not None


def _momentum(o: Options) -> bool:
    return bool(o.get("beta", 0) > 0)


def _scaled(o: Options) -> bool:
    """Whether the scale of m matters: sign(m) has none, a dither of absolute size has."""
    return _pre(o) and o.get("scale", "absolute") == "absolute"


def _coupled(o: Options) -> bool:
    return not o.get("decoupled", True) and bool(o.get("weight_decay", 0) > 0)


def _calibrated(o: Options) -> bool:
    return bool(o.get("calibrate", True))


def _trigger(*names: str) -> Callable[[Options], bool]:
    return lambda o: o.get("trigger", "fixed") in names


#: option, its default, what it has no effect without, whether the other options give it one
RULES: tuple[tuple[str, Any, str, Callable[[Options], bool]], ...] = (
    ("decoupled", True, "without weight_decay", lambda o: o.get("weight_decay", 0) > 0),
    ("momentum_form", "ema", "without momentum", _momentum),
    ("momentum_form", "ema", "on a sign: only absolute pre-sign dither sees the scale of m", _scaled),
    (
        "loss_scale",
        1.0,
        "on a sign: only absolute pre-sign dither and coupled weight decay see the scale of g",
        lambda o: _scaled(o) or _coupled(o),
    ),
    ("momentum_dtype", None, "without momentum", _momentum),
    ("sign_of_zero", "zero", "with pre-sign dither, which decides the sign of 0", lambda o: not _pre(o)),
    ("alpha", 0.0, "without dither", _dithered),
    ("gamma", 0.55, "without dither", _dithered),
    ("law", "gaussian", "without dither", _dithered),
    ("scale", "absolute", "without pre-sign dither: a sign has rms 1", _pre),
    ("k_unit", "step", "without dither", _dithered),
    ("k_unit", "step", "with gamma 0: σ is constant", lambda o: o.get("gamma", 0.55) > 0),
    ("steps_per_epoch", None, "with k_unit 'step'", lambda o: o.get("k_unit") == "epoch"),
    ("eta", 0.999, "without calibrate", _calibrated),
    ("eps", 1e-12, "without calibrate", _calibrated),
    ("bias_correction", True, "without calibrate", _calibrated),
    ("bias_correction", True, "with eta 0", lambda o: o.get("eta", 0.999) > 0),
    ("lambda_rule", "paper", "without calibrate", _calibrated),
    ("lambda_scope", "global", "without calibrate", _calibrated),
    ("lambda_step", "clean", "without calibrate", _calibrated),
    ("lambda_step", "clean", "without dither: the applied step is the clean one", _dithered),
    ("lambda_momentum", "updated", "without calibrate", _calibrated),
    ("lambda_momentum", "updated", "without momentum", _momentum),
    ("lambda_momentum", "updated", "on the applied step", lambda o: o.get("lambda_step") != "applied"),
    ("lambda_schedule", "relative", "without calibrate", _calibrated),
    ("sgd_lr", None, "with calibrate", lambda o: not _calibrated(o)),
    ("sgd_momentum", "none", "without momentum", _momentum),
    ("trigger", "fixed", "without calibrate", _calibrated),
    ("switch_step", None, "with an automatic trigger", _trigger("fixed")),
    ("t_switch", None, "with an automatic trigger", _trigger("fixed")),
    ("tolerance", None, "without an automatic trigger", _trigger("stable", "swats", "plateau")),
    ("patience", None, "without trigger 'stable' or 'plateau'", _trigger("stable", "plateau")),
)


def inert(options: Options) -> Iterator[str]:
    """One line for each option that differs from its default and yet has no effect."""
    for name, default, reason, effective in RULES:
        if name in options and options[name] != default and not effective(options):
            yield f"{name} has no effect {reason}"
    if options.get("law") == "subtractive" and options.get("dither") == "post":
        yield "law 'subtractive' needs pre-sign dither: what follows the sign subtracts what came before it"


def missing(options: Options) -> Iterator[str]:
    """One line for each option that the others need."""
    trigger = options.get("trigger", "fixed")
    if options.get("k_unit") == "epoch" and options.get("steps_per_epoch", 1) is None:
        yield "k_unit 'epoch' needs steps_per_epoch"
    if trigger != "fixed" and options.get("tolerance") is None:
        yield f"trigger {trigger!r} needs tolerance"
    if trigger in ("stable", "plateau") and options.get("patience") is None:
        yield f"trigger {trigger!r} needs patience"
