"""From a method's options to its optimizer. An entry here and a model in `config.methods` add one."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sign_ablate.optim.compressed_sgd import CompressedSGD
from sign_ablate.optim.compressors import QSGD, Compressor, OneBit, ScaledSign, TernGrad, TopK
from sign_ablate.optim.groups import decay_groups
from sign_ablate.optim.hybrid import HybridSignSGD
from sign_ablate.optim.lion import Lion
from sign_ablate.optim.onebit_adam import OneBitAdam
from sign_ablate.optim.signsgd import SignSGD
from sign_ablate.optim.swats import SWATS

Params = Iterable[nn.Parameter] | list[dict[str, Any]]
#: (parameters, options as in the configuration, seed, steps per epoch) → optimizer
Builder = Callable[[Params, dict[str, Any], int, int], Optimizer]


def _sgd(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return torch.optim.SGD(params, **options)


def _adam(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    betas = options.pop("beta1"), options.pop("beta2")
    return torch.optim.Adam(params, betas=betas, decoupled_weight_decay=options.pop("decoupled"), **options)


def _epochs(options: dict[str, Any], steps_per_epoch: int) -> dict[str, Any]:
    """The options, with epochs turned into steps and the configuration's `site` into `dither`."""
    if options.get("t_switch") is not None:
        options["switch_step"] = options["t_switch"] * steps_per_epoch
    options.pop("t_switch", None)
    if options.get("k_unit") == "epoch":
        options["steps_per_epoch"] = steps_per_epoch
    if "site" in options:
        options["dither"] = options.pop("site")
    return options


def _signsgd(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return SignSGD(params, beta=0.0, seed=seed, **options)


def _signsgd_m(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return SignSGD(params, seed=seed, **_epochs(options, steps_per_epoch))


def _hybrid(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return HybridSignSGD(params, seed=seed, **_epochs(options, steps_per_epoch))


def _naive_switch(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return _hybrid(params, {**options, "calibrate": False}, seed, steps_per_epoch)


def _with_betas(kind: Callable[..., Optimizer]) -> Builder:
    """A builder of an optimizer that takes β₁ and β₂ as one pair."""

    def builder(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
        return kind(params, betas=(options.pop("beta1"), options.pop("beta2")), **options)

    return builder


def _compressed(
    kind: Callable[..., Compressor], *own: str, seeded: bool = False, error_feedback: bool | None = None
) -> Builder:
    """A builder of CompressedSGD; `own` are the options that the compressor takes."""

    def builder(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
        mine = {name: options.pop(name) for name in own} | ({"seed": seed} if seeded else {})
        feedback = options.pop("error_feedback") if error_feedback is None else error_feedback
        return CompressedSGD(params, compressor=kind(**mine), error_feedback=feedback, **options)

    return builder


BUILDERS: dict[str, Builder] = {
    "sgd": _sgd,
    "adam": _adam,
    "signsgd": _signsgd,
    "signsgd-m": _signsgd_m,
    "dithered": _signsgd_m,
    "hybrid": _hybrid,
    "dithered-hybrid": _hybrid,
    "naive-switch": _naive_switch,
    "lion": _with_betas(Lion),
    "scaled-sign": _compressed(ScaledSign, error_feedback=False),
    "ef-signsgd": _compressed(ScaledSign, error_feedback=True),
    "onebit-sgd": _compressed(OneBit, "columns"),
    "qsgd": _compressed(QSGD, "levels", "norm", "bucket", seeded=True),
    "terngrad": _compressed(TernGrad, "clip", seeded=True),
    "topk": _compressed(TopK, "fraction"),
    "swats": _with_betas(SWATS),
    "onebit-adam": _with_betas(OneBitAdam),
}


def build(
    optimizer: str,
    options: dict[str, Any],
    params: Iterable[nn.Parameter],
    *,
    seed: int,
    steps_per_epoch: int,
) -> Optimizer:
    """The optimizer called `optimizer` in the configuration. `steps_per_epoch` turns T_switch into steps.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if optimizer not in BUILDERS:
        raise ValueError(f"unknown optimizer {optimizer!r} (known: {', '.join(sorted(BUILDERS))})")
    options = dict(options)
    chosen = decay_groups(params) if options.pop("exclude_norm_bias", False) else params
    return BUILDERS[optimizer](chosen, options, seed, steps_per_epoch)
