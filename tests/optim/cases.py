"""The table of cases: every registered optimizer, in the variants that its branches need.

A name of `METHODS` that `VARIANTS` leaves out is a case with its defaults, so that a newly registered
optimizer is tested without a change here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sign_ablate.optim import QSGD, CompressedSGD, OneBit, ScaledSign, TernGrad, TopK
from sign_ablate.optim.base import DeclaredOptimizer
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.options.method import Method
from sign_ablate.optim.registry import METHODS, load

Make = Callable[..., DeclaredOptimizer]

COMPRESSORS = {
    "scaled-sign": ScaledSign(),
    "one-bit": OneBit(),
    "one-bit-tensor": OneBit(columns=False),
    "qsgd": QSGD(levels=3, bucket=4, seed=5),
    "qsgd-l2": QSGD(levels=2, norm="l2", bucket=None, seed=5),
    "terngrad": TernGrad(seed=5),
    "terngrad-unclipped": TernGrad(clip=None, seed=5),
    "topk": TopK(fraction=0.3),
}
_MOMENTUM = {"compressor": COMPRESSORS["topk"], "error_feedback": True, "momentum": 0.9}


def _compressed(*names: str) -> dict[str, dict[str, Any]]:
    """Each compressor, without and with error feedback."""
    cases = {name: {"compressor": COMPRESSORS[name], "error_feedback": False} for name in names}
    return cases | {f"{name}+ef": {**case, "error_feedback": True} for name, case in cases.items()}


#: name of the registry → case → options of the constructor; phases change at the second to fourth step
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "dithered": {
        "pre-dither": {"dither": "pre", "alpha": 0.1},
        "post-dither": {"dither": "post", "alpha": 0.1},
        "subtractive": {"dither": "pre", "alpha": 0.1, "law": "subtractive"},
    },
    "hybrid": {
        "hybrid": {"switch_step": 3},
        "hybrid-swats": {"switch_step": 3, "lambda_scope": "tensor", "sgd_momentum": "swats"},
        "hybrid-sign": {"switch_step": 3, "after": "sign"},
        "hybrid-kept": {"switch_step": 3, "length": "kept"},
        "hybrid-stable": {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9},
    },
    "dithered-hybrid": {"dithered-hybrid": {"dither": "pre", "alpha": 0.1, "switch_step": 3}},
    "linear-twin": {
        "linear-twin": {"alpha": 0.1},
        "linear-twin-noise": {"alpha": 0.1, "noise": True, "momentum_form": "heavy_ball"},
    },
    "sgd-noise": {"sgd-noise": {"alpha": 0.1}, "sgd-noise-nesterov": {"alpha": 0.1, "nesterov": True}},
    "naive-switch": {"naive-switch": {"switch_step": 3}},
    "swats": {
        "swats": {"tol": 1e9},
        "swats-adam": {"tol": 0.0},
        "swats-tensor": {"tol": 1e-3, "scope": "tensor"},
    },
    "onebit-adam": {
        "onebit-adam": {"warmup_steps": 3},
        "onebit-adam-corrected": {"warmup_steps": 3, "bias_correction": True, "norm": "l1"},
    },
    "scaled-sign": {"scaled-sign": {"compressor": COMPRESSORS["scaled-sign"]}},
    "ef-signsgd": {"ef-signsgd": {"compressor": COMPRESSORS["scaled-sign"]}},
    "onebit-sgd": _compressed("one-bit", "one-bit-tensor"),
    "qsgd": _compressed("qsgd", "qsgd-l2"),
    "terngrad": _compressed("terngrad", "terngrad-unclipped"),
    "topk": {
        **_compressed("topk"),
        "topk+ef+momentum": _MOMENTUM,
        "topk+ef+momentum-after": {**_MOMENTUM, "momentum_after": True},
    },
}


def _with(kind: Make, options: dict[str, Any]) -> Make:
    return lambda params, **more: kind(params, **{"lr": 0.01, **options, **more})


def _cases(name: str, method: Method) -> dict[str, Make]:
    """The cases of a registered optimizer of ours; none for torch's own."""
    kind = load(method.optimizer)
    if not (isinstance(kind, type) and issubclass(kind, DeclaredOptimizer)):
        return {}
    given = {**method.defaults, **method.fixed}
    if method.compressor is not None:
        given["compressor"] = load(method.compressor[0])()
    own = {key: value for key, value in given.items() if key in {*declared(kind.options), "compressor"}}
    return {case: _with(kind, {**own, **options}) for case, options in VARIANTS.get(name, {name: {}}).items()}


CASES: dict[str, Make] = {
    "uncompressed": _with(CompressedSGD, {"compressor": None, "momentum": 0.9}),
}
for _name, _method in METHODS.items():
    CASES |= _cases(_name, _method)
#: the classes of all registered optimizers of ours
KINDS = list(dict.fromkeys(type(make([nn.Parameter(torch.ones(1))])) for make in CASES.values()))

#: a 0-dim, an empty, a single element, and ordinary ones
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (5,), (3, 4), (2, 3, 2, 2)]


def parameters(
    shapes: Iterable[tuple[int, ...]] = SHAPES, seed: int = 0, **options: Any
) -> list[nn.Parameter]:
    """Parameters with reproducible values."""
    generator = torch.Generator().manual_seed(seed)
    kind = {"dtype": options.get("dtype", torch.float32)}
    return [nn.Parameter(torch.randn(shape, generator=generator, **kind)) for shape in shapes]


def gradients(params: Iterable[Tensor], step: int) -> list[Tensor]:
    """Reproducible gradients of one step."""
    generator = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in params]


def train(
    optimizer: DeclaredOptimizer, params: list[nn.Parameter], steps: Iterable[int], keep: bool = True
) -> list[list[Tensor]]:
    """Steps with `gradients`; returns the parameters after each."""
    trajectory = []
    for step in steps:
        for p, g in zip(params, gradients(params, step), strict=True):
            p.grad = g
        optimizer.step()
        if keep:
            trajectory.append([p.detach().clone() for p in params])
    return trajectory


def assert_bitwise(one: Any, other: Any) -> None:
    """Equal to the last bit, NaN included; in nested lists and dicts of tensors and plain values."""
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        assert_bitwise(list(one.values()), list(other.values()))
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_bitwise(a, b)
    else:
        assert one == other
