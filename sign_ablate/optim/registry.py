"""From a method's options to its optimizer. An entry here and a model in `config.methods` add one."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sign_ablate.optim.hybrid import HybridSignSGD
from sign_ablate.optim.signsgd import SignSGD

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


BUILDERS: dict[str, Builder] = {
    "sgd": _sgd,
    "adam": _adam,
    "signsgd": _signsgd,
    "signsgd-m": _signsgd_m,
    "dithered": _dithered,
    "hybrid": _hybrid,
    "dithered-hybrid": _hybrid,
    "naive-switch": _naive_switch,
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
