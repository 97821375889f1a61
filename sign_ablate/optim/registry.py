"""From a method's options to its optimizer. An entry here and a model in `config.methods` add one."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sign_ablate.optim.compressed_sgd import CompressedSGD
from sign_ablate.optim.compressors import QSGD, Compressor, OneBit, ScaledSign, TernGrad, TopK
from sign_ablate.optim.hybrid import HybridSignSGD
from sign_ablate.optim.lion import Lion
from sign_ablate.optim.onebit_adam import OneBitAdam
from sign_ablate.optim.signsgd import SignSGD
from sign_ablate.optim.swats import SWATS

Params = Iterable[nn.Parameter]
#: (parameters, options as in the configuration, seed, steps per epoch) → optimizer
Builder = Callable[[Params, dict[str, Any], int, int], Optimizer]


def _sgd(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return torch.optim.SGD(params, **options)


def _adam(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    betas = options.pop("beta1"), options.pop("beta2")
    return torch.optim.Adam(params, betas=betas, decoupled_weight_decay=options.pop("decoupled"), **options)


def _signsgd(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return SignSGD(params, beta=0.0, **options)


def _signsgd_m(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return SignSGD(params, **options)


def _dithered(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    return SignSGD(params, dither=options.pop("site"), seed=seed, **options)


def _hybrid(params: Params, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Optimizer:
    switch_step = options.pop("t_switch") * steps_per_epoch
    site = options.pop("site", None)
    return HybridSignSGD(params, switch_step=switch_step, dither=site, seed=seed, **options)


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
    "dithered": _dithered,
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
    optimizer: str, options: dict[str, Any], params: Params, *, seed: int, steps_per_epoch: int
) -> Optimizer:
    """The optimizer called `optimizer` in the configuration. `steps_per_epoch` turns T_switch into steps.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if optimizer not in BUILDERS:
        raise ValueError(f"unknown optimizer {optimizer!r} (known: {', '.join(sorted(BUILDERS))})")
    return BUILDERS[optimizer](params, dict(options), seed, steps_per_epoch)
