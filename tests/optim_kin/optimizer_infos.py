"""OptimizerInfo entries of the kin, for the harness of PyTorch's own test/test_optim.py.

None has the foreach, fused, capturable or differentiable implementations that some of its checks are about.
The harness also builds optimizers without arguments: a required one is bound in a class of its own.
"""

from typing import Any

import torch
from torch.testing._internal.common_optimizers import DecorateInfo, OptimizerInfo

from sign_ablate.optim import QSGD, SWATS, CompressedSGD, Lion, OneBit, OneBitAdam, ScaledSign, TernGrad, TopK
from tests.optim.optimizer_infos import errors, inputs, skip

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
    return OptimizerInfo(
        kind,
        optim_inputs_func=inputs({**COMMON, **own}),
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

KIN: list[OptimizerInfo] = [
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
