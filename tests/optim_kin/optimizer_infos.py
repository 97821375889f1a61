"""OptimizerInfo entries of the kin, for the harness of PyTorch's own test/test_optim.py.

`optim_db[:] = [*KIN]` before that file is imported runs its checks on these optimizers. None has the
foreach, fused, capturable or differentiable implementations that some of its checks are about.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerInfo,
    OptimizerInput,
    get_error_inputs_for_all_optims,
)

from sign_ablate.optim import QSGD, SWATS, CompressedSGD, Lion, OneBit, OneBitAdam, ScaledSign, TernGrad, TopK

COMMON: dict[str, dict[str, Any]] = {
    "default": {},
    "non-default lr": {"lr": 0.01},
    "nonzero weight_decay": {"weight_decay": 0.1},
    "maximize": {"maximize": True},
    "maximize with weight decay": {"maximize": True, "weight_decay": 0.1},
    "Tensor lr": {"lr": torch.tensor(0.001)},
}


def _inputs(own: dict[str, dict[str, Any]], base: dict[str, Any]) -> Callable[..., list[OptimizerInput]]:
    def inputs(device: Any, dtype: Any = None) -> list[OptimizerInput]:
        return [
            OptimizerInput(params=None, kwargs={**base, **kwargs}, desc=desc)
            for desc, kwargs in {**COMMON, **own}.items()
        ]

    return inputs


def _errors(own: list[tuple[dict[str, Any], str]], base: dict[str, Any]) -> Callable[..., Any]:
    def errors(device: Any, dtype: Any) -> list[ErrorOptimizerInput]:
        general = get_error_inputs_for_all_optims(device, dtype)
        for each in general:
            each.optimizer_error_input.kwargs = {**base, **each.optimizer_error_input.kwargs}
        if torch.device(device).type != "cpu":
            return general
        return general + [
            ErrorOptimizerInput(
                OptimizerInput(params=None, kwargs={**base, **kwargs}, desc=regex),
                error_type=ValueError,
                error_regex=regex,
            )
            for kwargs, regex in [({"lr": -0.1}, "lr must be at least 0, got -0.1"), *own]
        ]

    return errors


def _info(
    kind: Any,
    own: dict[str, dict[str, Any]],
    bad: list[tuple[dict[str, Any], str]],
    **base: Any,
) -> OptimizerInfo:
    return OptimizerInfo(
        kind,
        optim_inputs_func=_inputs(own, base),
        optim_error_inputs_func=_errors(bad, base),
        supported_impls=(),
        supports_multiple_devices=kind is not SWATS,  # it sums over all parameters
        not_og_supported_flags=(),
    )


_NO_BETAS: list[tuple[dict[str, Any], str]] = [
    ({"betas": (0.0, 1.0)}, r"betas must be two numbers in \[0, 1\)")
]

#: CompressedSGD once for each compressor: an OptimizerInfo is known by its class's name
_COMPRESSORS = {
    "ScaledSignSGD": ScaledSign(),
    "OneBitSGD": OneBit(),
    "QSGDSGD": QSGD(),
    "TernGradSGD": TernGrad(),
    "TopKSGD": TopK(0.3),
    "UncompressedSGD": None,
}


def _named(name: str) -> type[CompressedSGD]:
    return type(name, (CompressedSGD,), {"__module__": __name__})


#: the classes by name, so that they can be pickled
globals().update({name: _named(name) for name in _COMPRESSORS})

KIN: list[OptimizerInfo] = [
    _info(Lion, {"equal betas": {"betas": (0.9, 0.9)}}, _NO_BETAS),
    _info(
        SWATS,
        {"switching": {"tol": 1e9}, "by tensor": {"tol": 1e9, "scope": "tensor"}},
        [*_NO_BETAS, ({"tol": -1.0}, "tol must be at least 0, got -1.0")],
    ),
    _info(
        OneBitAdam,
        {"corrected": {"bias_correction": True}, "l1": {"norm": "l1"}, "late": {"warmup_steps": 1000}},
        [*_NO_BETAS, ({"warmup_steps": 0}, "warmup_steps must be at least 1, got 0")],
        warmup_steps=3,
    ),
    *(
        _info(
            globals()[name],
            {
                "momentum": {"momentum": 0.9},
                **({} if compressor is None else {"EF": {"error_feedback": True}}),
            },
            [({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0")],
            compressor=compressor,
        )
        for name, compressor in _COMPRESSORS.items()
    ),
]

#: every (class, keyword arguments) of the entries
ALL: list[tuple[str, partial[Any]]] = [
    (f"{info.optim_cls.__name__}-{each.desc}", partial(info.optim_cls, **each.kwargs))
    for info in KIN
    for each in info.optim_inputs_func(device="cpu")
]
