"""PyTorch's OptimizerInfo entries for our optimizers.

To run PyTorch's own test/test_optim.py (not in the wheel) against them, before it is imported:

    from torch.testing._internal import common_optimizers
    from tests.optim.optimizer_infos import INFOS
    common_optimizers.optim_db[:] = INFOS

Importing `torch.testing._internal` needs expecttest. A registered optimizer without an entry below gets one
with the inputs that its options allow. The harness builds optimizers without arguments: a required one is
bound in a class of its own.
"""

import unittest
from typing import Any

import torch
from torch.testing._internal.common_optimizers import (
    DecorateInfo,
    ErrorOptimizerInput,
    OptimizerInfo,
    OptimizerInput,
    get_error_inputs_for_all_optims,
)

from sign_ablate.optim import (
    QSGD,
    SWATS,
    CompressedSGD,
    HybridSignSGD,
    LinearTwin,
    Lion,
    NoisySGD,
    OneBit,
    OneBitAdam,
    ScaledSign,
    SignSGD,
    TernGrad,
    TopK,
)
from sign_ablate.optim.options.declare import declared
from tests.optim.cases import KINDS


class DitheredSignSGD(SignSGD):
    """SignSGD under a name of its own: dither moves parameters whose gradient is 0."""


def inputs(options: dict[str, dict[str, Any]]) -> Any:
    """An OptimizerInfo's inputs: name → keyword arguments."""

    def make(device: Any, dtype: Any = None) -> list[OptimizerInput]:
        return [
            OptimizerInput(params=None, kwargs={k: _fresh(v) for k, v in kwargs.items()}, desc=name)
            for name, kwargs in options.items()
        ]

    return make


def _fresh(value: Any) -> Any:
    """A tensor learning rate of its own: schedulers change it in place."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def errors(options: dict[str, tuple[dict[str, Any], str]]) -> Any:
    """An OptimizerInfo's inputs that raise: name → keyword arguments and the ValueError's message."""

    def make(device: Any, dtype: Any) -> list[ErrorOptimizerInput]:
        own = [
            ErrorOptimizerInput(
                OptimizerInput(params=[torch.nn.Parameter(torch.ones(2))], kwargs=kwargs, desc=name),
                error_type=ValueError,
                error_regex=regex,
            )
            for name, (kwargs, regex) in options.items()
        ]
        return get_error_inputs_for_all_optims(device, dtype) + (own if str(device).startswith("cpu") else [])

    return make


def skip(test: str, reason: str) -> DecorateInfo:
    """Leave out a test of PyTorch's file."""
    return DecorateInfo(unittest.skip(reason), "TestOptimRenewed", test)


SIGN_INPUTS = {
    "default": {},
    "non-default lr": {"lr": 1e-2},
    "tensor lr": {"lr": torch.tensor(0.001)},
    "no momentum": {"beta": 0.0},
    "weight decay": {"weight_decay": 0.5},
    "coupled weight decay": {"weight_decay": 0.1, "decoupled": False},
    "maximize": {"weight_decay": 0.1, "maximize": True},
    "capturable": {"capturable": True},
}
DITHER_INPUTS = {
    "pre": {"dither": "pre", "alpha": 1e-3},
    "pre, epochs": {"dither": "pre", "alpha": 1e-3, "k_unit": "epoch", "steps_per_epoch": 3},
    "pre, uniform": {"dither": "pre", "alpha": 1e-3, "law": "uniform"},
    "pre, subtractive": {"dither": "pre", "alpha": 1e-3, "law": "subtractive"},
    "pre, tensor rms": {"dither": "pre", "alpha": 0.1, "scale": "tensor_rms"},
    "pre, heavy ball": {"dither": "pre", "alpha": 1e-3, "momentum_form": "heavy_ball"},
    "post": {"dither": "post", "alpha": 1e-3},
    "random zero": {"sign_of_zero": "random"},
}
HYBRID_INPUTS = {
    "default": {},
    "switch": {"switch_step": 4},
    "tensor lr": {"lr": torch.tensor(0.001), "switch_step": 4},
    "weight decay": {"switch_step": 3, "weight_decay": 0.01},
    "frozen": {"switch_step": 2, "lambda_scope": "group", "lambda_schedule": "frozen"},
    "momentum after": {"switch_step": 2, "sgd_momentum": "swats"},
    "sign after": {"switch_step": 3, "after": "sign"},
    "length kept": {"switch_step": 3, "length": "kept", "weight_decay": 0.01},
    "stable": {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9},
    "maximize": {"switch_step": 4, "maximize": True},
    "naive": {"switch_step": 3, "calibrate": False, "sgd_lr": 1e-4},
}
_SIGN = [
    OptimizerInfo(
        SignSGD,
        optim_inputs_func=inputs(SIGN_INPUTS),
        optim_error_inputs_func=errors(
            {
                "momentum": ({"beta": 1.0}, "beta must be in"),
                "decay": ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
                "lr": ({"lr": -1.0}, "lr must be at least 0"),
                "inert": ({"alpha": 0.1}, "alpha has no effect without dither"),
            }
        ),
        supported_impls=("foreach", "differentiable"),
        has_capturable_arg=True,
    ),
    OptimizerInfo(
        DitheredSignSGD,
        optim_inputs_func=inputs(DITHER_INPUTS),
        optim_error_inputs_func=errors(
            {"gamma": ({"dither": "pre", "gamma": -1.0}, "gamma must be at least 0")}
        ),
        supported_impls=("foreach", "differentiable"),
        has_capturable_arg=True,
        skips=(
            skip("test_step_is_noop_for_zero_grads", "the sign of 0 + dither is ±1 by definition"),
            skip("test_complex_2d", "the noise of a complex parameter is not that of two real parameters"),
            skip(
                "test_defaults_changed_to_foreach", "the subclass is defined outside the optimizer's module"
            ),
            skip("test_peak_memory_foreach", "noise needs more than one intermediate outside torch.compile"),
        ),
    ),
    OptimizerInfo(
        HybridSignSGD,
        optim_inputs_func=inputs(HYBRID_INPUTS),
        optim_error_inputs_func=errors(
            {
                "eta": ({"eta": 1.0}, "eta must be in"),
                "inert": ({"sgd_lr": 0.1}, "sgd_lr has no effect with calibrate"),
                "missing": ({"trigger": "swats"}, "needs tolerance"),
            }
        ),
        supported_impls=("foreach", "differentiable"),
        has_capturable_arg=True,
        skips=(
            skip("test_defaults_changed_to_foreach", "the foreach function is in SignSGD's module"),
            skip("test_peak_memory_foreach", "λ's inner products need an intermediate of their own"),
        ),
    ),
]

#: inputs of the optimizers without foreach, fused, capturable and differentiable implementations
COMMON: dict[str, dict[str, Any]] = {
    "default": {},
    "non-default lr": {"lr": 0.01},
    "nonzero weight_decay": {"weight_decay": 0.1},
    "maximize": {"maximize": True},
    "maximize with weight decay": {"maximize": True, "weight_decay": 0.1},
    "Tensor lr": {"lr": torch.tensor(0.001)},
}


def _info(
    kind: Any,
    own: dict[str, dict[str, Any]],
    bad: dict[str, tuple[dict[str, Any], str]],
    *skips: DecorateInfo,
) -> OptimizerInfo:
    known = declared(kind.options)
    return OptimizerInfo(
        kind,
        optim_inputs_func=inputs({name: x for name, x in {**COMMON, **own}.items() if set(x) <= set(known)}),
        optim_error_inputs_func=errors({"lr": ({"lr": -0.1}, "lr must be at least 0, got -0.1"), **bad}),
        supported_impls=(),
        supports_multiple_devices=kind is not SWATS,  # it sums over all parameters
        not_og_supported_flags=("maximize",),
        skips=skips,
    )


def _bound(name: str, kind: type, **given: Any) -> type:
    """A subclass under this name, which can be pickled, with other defaults."""

    def init(self: Any, params: Any, *args: Any, **options: Any) -> None:
        kind.__init__(self, params, *args, **{**given, **options})  # type: ignore[misc]

    globals()[name] = type(name, (kind,), {"__init__": init, "__module__": __name__})
    return globals()[name]  # type: ignore[no-any-return]


def _complex(reason: str) -> DecorateInfo:
    return skip("test_complex_2d", reason)


_BETAS: dict[str, tuple[dict[str, Any], str]] = {
    "betas": ({"betas": (0.0, 1.0)}, r"betas must be two numbers in \[0, 1\)")
}

#: CompressedSGD once for each compressor, by name: the compressor and why a complex number is not two reals
_COMPRESSORS: dict[str, tuple[Any, str]] = {
    "ScaledSignSGD": (ScaledSign(), "one complex tensor has one scale, two real ones have two"),
    "OneBitSGD": (OneBit(), "one complex tensor has one pair of means, two real ones have two"),
    "QSGDSGD": (QSGD(), "one complex tensor has one norm and one noise, two real ones have two"),
    "TernGradSGD": (TernGrad(), "one complex tensor has one scale and one noise, two real ones have two"),
    "TopKSGD": (TopK(0.3), "the largest of one complex tensor are not those of two real ones"),
    "UncompressedSGD": (None, ""),
}

_ZERO = skip("test_step_is_noop_for_zero_grads", "noise moves parameters whose gradient is 0")
_NOISE = _complex("the noise of a complex parameter is not that of two real parameters")
_SIGMA: dict[str, dict[str, Any]] = {
    "gamma 0": {"gamma": 0.0},
    "epochs": {"k_unit": "epoch", "steps_per_epoch": 3},
}
_ALPHA = {"alpha": ({"alpha": -1.0}, "alpha must be")}

_OTHERS: list[OptimizerInfo] = [
    _info(
        _bound("ClearLinearTwin", LinearTwin, alpha=0.1),
        {**_SIGMA, "heavy ball": {"momentum_form": "heavy_ball"}, "no momentum": {"beta": 0.0}},
        _ALPHA,
    ),
    _info(_bound("NoisyLinearTwin", LinearTwin, alpha=0.1, noise=True), _SIGMA, _ALPHA, _ZERO, _NOISE),
    _info(
        _bound("ShortNoisySGD", NoisySGD, alpha=1e-3),
        {**_SIGMA, "nesterov": {"nesterov": True}, "no momentum": {"momentum": 0.0}},
        _ALPHA,
        _ZERO,
        _NOISE,
    ),
    _info(Lion, {"equal betas": {"betas": (0.9, 0.9)}}, _BETAS),
    _info(
        SWATS,
        {"switching": {"tol": 1e9}, "by tensor": {"tol": 1e9, "scope": "tensor"}},
        {**_BETAS, "tol": ({"tol": -1.0}, "tol must be at least 0, got -1.0")},
        _complex("by tensor: one complex tensor has one rate, two real ones have two"),
    ),
    _info(
        # β₂: after three steps v would be 0.3 % of g² with 0.999, and the frozen steps 18 times too long
        _bound("ShortOneBitAdam", OneBitAdam, warmup_steps=3, betas=(0.9, 0.5)),
        {"corrected": {"bias_correction": True}, "l1": {"norm": "l1"}, "late": {"warmup_steps": 1000}},
        {**_BETAS, "warmup": ({"warmup_steps": 0}, "warmup_steps must be at least 1, got 0")},
        _complex("one complex tensor has one scale, two real ones have two"),
    ),
    *(
        _info(
            _bound(name, CompressedSGD, compressor=compressor),
            {"momentum": {"momentum": 0.9}, **({"EF": {"error_feedback": True}} if compressor else {})},
            {"momentum": ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0")},
            *([_complex(reason)] if compressor else []),
        )
        for name, (compressor, reason) in _COMPRESSORS.items()
    ),
]

_COVERED = {base for info in (*_SIGN, *_OTHERS) for base in info.optim_cls.__mro__}
INFOS: list[OptimizerInfo] = [
    *_SIGN,
    *_OTHERS,
    *(_info(kind, {}, {}) for kind in KINDS if kind not in _COVERED),
]
