"""Registry of the optimizers that a configuration can name. An entry of `METHODS` adds one.

torch is imported when an optimizer is built: planning a campaign needs only the options.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sign_ablate.optim.options.baselines import AdamOptions, SGDOptions
from sign_ablate.optim.options.compressed_sgd import CompressedSGDOptions
from sign_ablate.optim.options.compressors import (
    OneBitOptions,
    QSGDOptions,
    ScaledSignOptions,
    TernGradOptions,
    TopKOptions,
)
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.options.hybrid import HybridSignSGDOptions
from sign_ablate.optim.options.lion import LionOptions
from sign_ablate.optim.options.method import Method, Values
from sign_ablate.optim.options.noisy_sgd import NoisySGDOptions
from sign_ablate.optim.options.onebit_adam import OneBitAdamOptions
from sign_ablate.optim.options.signsgd import SignSGDOptions
from sign_ablate.optim.options.swats import SWATSOptions
from sign_ablate.optim.options.twin import LinearTwinOptions

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

_SIGNSGD = "sign_ablate.optim.signsgd:SignSGD", SignSGDOptions
_HYBRID = "sign_ablate.optim.hybrid:HybridSignSGD", HybridSignSGDOptions
_COMPRESSED = "sign_ablate.optim.compressed_sgd:CompressedSGD", CompressedSGDOptions
_SCALED_SIGN = "sign_ablate.optim.compressors:ScaledSign", ScaledSignOptions

#: in the order of the reference page: the paper's rows first
METHODS: dict[str, Method] = {
    "sgd": Method("`torch.optim.SGD`, coupled weight decay.", "torch.optim:SGD", SGDOptions),
    "adam": Method(
        "`torch.optim.Adam`; with `decoupled`, AdamW.", "sign_ablate.optim.registry:_adam", AdamOptions
    ),
    "signsgd": Method(
        "SignSGD without momentum: x ← x − δ·sign(g).", *_SIGNSGD, fixed={"beta": 0.0, "dither": None}
    ),
    "signsgd-m": Method(
        "SignSGD-M: the sign of the momentum m ← βm + (1−β)g.", *_SIGNSGD, fixed={"dither": None}
    ),
    "dithered": Method(
        "SignSGD-M with dither: Algorithm 1 (`site: pre`) or eq. (10) (`site: post`).",
        *_SIGNSGD,
        required=("dither", "alpha"),
    ),
    "hybrid": Method(
        "SignSGD-M, then SGD with the projected learning rate λ̄: Algorithm 2.",
        *_HYBRID,
        fixed={"calibrate": True, "dither": None},
    ),
    "dithered-hybrid": Method(
        "Algorithm 2 with dither in its sign phase.",
        *_HYBRID,
        fixed={"calibrate": True},
        required=("dither", "alpha"),
    ),
    "naive-switch": Method(
        "SignSGD-M, then SGD without calibration: the hand-off that the paper calls unstable.",
        *_HYBRID,
        fixed={"calibrate": False, "dither": None},
        required=("switch_step",),
    ),
    "linear-twin": Method(
        "Linear twin of pre-sign dither: x ← x − δ√(2/π)·m/σ_k, with ±δ noise or without.",
        "sign_ablate.optim.twin:LinearTwin",
        LinearTwinOptions,
    ),
    "sgd-noise": Method(
        "SGD with annealed gradient noise (arXiv 1511.06807): g + N(0, σ_k²).",
        "sign_ablate.optim.noisy_sgd:NoisySGD",
        NoisySGDOptions,
    ),
    "lion": Method(
        "Lion (arXiv 2302.06675): the sign of a momentum, decoupled weight decay.",
        "sign_ablate.optim.lion:Lion",
        LionOptions,
    ),
    "scaled-sign": Method(
        "Scaled sign (arXiv 1901.09847): x ← x − lr·(‖g‖₁/d)·sign(g).",
        *_COMPRESSED,
        fixed={"error_feedback": False, "norm": "l1"},
        compressor=_SCALED_SIGN,
    ),
    "ef-signsgd": Method(
        "EF-SignSGD (arXiv 1901.09847): scaled sign with error feedback.",
        *_COMPRESSED,
        fixed={"error_feedback": True, "norm": "l1"},
        compressor=_SCALED_SIGN,
    ),
    "onebit-sgd": Method(
        "1-bit SGD (Seide et al. 2014): two reconstruction values, the means of either sign.",
        *_COMPRESSED,
        defaults={"error_feedback": True},
        compressor=("sign_ablate.optim.compressors:OneBit", OneBitOptions),
    ),
    "qsgd": Method(
        "QSGD (arXiv 1610.02132): unbiased stochastic rounding to s levels.",
        *_COMPRESSED,
        compressor=("sign_ablate.optim.compressors:QSGD", QSGDOptions),
    ),
    "terngrad": Method(
        "TernGrad (arXiv 1705.07878): unbiased stochastic rounding to −s, 0, s with s = max|g|.",
        *_COMPRESSED,
        compressor=("sign_ablate.optim.compressors:TernGrad", TernGradOptions),
    ),
    "topk": Method(
        "Top-k sparsification (arXiv 1809.07599): the largest coordinates of every tensor.",
        *_COMPRESSED,
        defaults={"error_feedback": True},
        compressor=("sign_ablate.optim.compressors:TopK", TopKOptions),
    ),
    "swats": Method(
        "SWATS (arXiv 1712.07628): Adam, then SGD with a projected learning rate; automatic switch.",
        "sign_ablate.optim.swats:SWATS",
        SWATSOptions,
    ),
    "onebit-adam": Method(
        "1-bit Adam (arXiv 2102.02888): Adam, then compressed momentum with a frozen variance.",
        "sign_ablate.optim.onebit_adam:OneBitAdam",
        OneBitAdamOptions,
    ),
}


def build(
    optimizer: str,
    options: Values,
    params: "Iterable[nn.Parameter]",
    *,
    seed: int,
    steps_per_epoch: int,
) -> "Optimizer":
    """Build an optimizer from its name and options in a configuration.

    Args:
        optimizer: a name of `METHODS`.
        options: keys of a method and their values.
        params: the parameters.
        seed: seed of the optimizer's noise.
        steps_per_epoch: turns T_switch, which a campaign counts in epochs, into steps.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if optimizer not in METHODS:
        raise ValueError(f"unknown optimizer {optimizer!r} (known: {', '.join(sorted(METHODS))})")
    method = METHODS[optimizer]
    values = {**method.defaults, **method.fixed, **constructed(method, options, steps_per_epoch)}
    chosen: Any = params
    if values.pop("exclude_norm_bias", False):
        from sign_ablate.optim.groups import decay_groups

        chosen = decay_groups(params)
    if method.compressor is not None:
        path, own = method.compressor
        inner = {name: values.pop(name) for name in declared(own) if name in values}
        values["compressor"] = load(path)(**inner, **_seeded(own, seed))
    built: Optimizer = load(method.optimizer)(chosen, **values, **_seeded(method.options, seed))
    return built


def constructed(method: Method, options: Values, steps_per_epoch: int) -> dict[str, Any]:
    """The constructor's options: `site` is `dither`, epochs are steps, and two β are a pair."""
    values = dict(options)
    names = declared(method.options)
    if "site" in values:
        values["dither"] = values.pop("site")
    if "t_switch" in values:
        epochs = values.pop("t_switch")
        values["switch_step"] = None if epochs is None else epochs * steps_per_epoch
    if values.get("k_unit") == "epoch":
        values["steps_per_epoch"] = steps_per_epoch
    for name, own in names.items():
        if own.option.parts:
            parts = zip(own.option.parts, own.default, strict=True)
            values[name] = tuple(values.pop(part, default) for (part, _), default in parts)
    return values


def _seeded(options: type, seed: int) -> dict[str, int]:
    return {"seed": seed} if "seed" in declared(options) else {}


def load(path: str) -> Any:
    """Import the object that "module:name" names."""
    module, name = path.split(":")
    return getattr(import_module(module), name)


def _adam(params: Any, *, decoupled: bool = False, **options: Any) -> "Optimizer":
    """`torch.optim.Adam`, where `decoupled` is called `decoupled_weight_decay`."""
    import torch

    return torch.optim.Adam(params, decoupled_weight_decay=decoupled, **options)
