"""One recipe per optimizer and variant; every contract test runs over all of them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sign_ablate.optim import QSGD, SWATS, CompressedSGD, Lion, OneBit, OneBitAdam, ScaledSign, TernGrad, TopK
from sign_ablate.optim.base import DeclaredOptimizer
from sign_ablate.optim.registry import METHODS, load

Make = Callable[..., DeclaredOptimizer]
_KINDS = {Lion, SWATS, OneBitAdam, CompressedSGD}

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


def _with(kind: Make, **options: Any) -> Make:
    return lambda params, **more: kind(params, **{"lr": 0.01, **options, **more})


CASES: dict[str, Make] = {
    "lion": _with(Lion),
    "swats": _with(SWATS, tol=1e9),  # switches at its second step
    "swats-adam": _with(SWATS, tol=0.0),
    "swats-tensor": _with(SWATS, tol=1e-3, scope="tensor"),
    "onebit-adam": _with(OneBitAdam, warmup_steps=3),
    "onebit-adam-corrected": _with(OneBitAdam, warmup_steps=3, bias_correction=True, norm="l1"),
    "uncompressed": _with(CompressedSGD, compressor=None, momentum=0.9),
}
for _name, _compressor in COMPRESSORS.items():
    CASES[_name] = _with(CompressedSGD, compressor=_compressor)
    CASES[f"{_name}+ef"] = _with(CompressedSGD, compressor=_compressor, error_feedback=True)
CASES["topk+ef+momentum"] = _with(CompressedSGD, compressor=TopK(0.3), error_feedback=True, momentum=0.9)
CASES["topk+ef+momentum-after"] = _with(
    CompressedSGD, compressor=TopK(0.3), error_feedback=True, momentum=0.9, momentum_after=True
)

# One that is registered and has no recipe above gets one, with its defaults.
for _name, _method in METHODS.items():
    _kind = load(_method.optimizer)
    if isinstance(_kind, type) and issubclass(_kind, DeclaredOptimizer) and _kind not in _KINDS:
        CASES[_name] = _with(_kind)
        _KINDS.add(_kind)

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
