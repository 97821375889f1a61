"""Triton's kernels compile for a GPU, with the arguments of the optimizers, where there is none."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.optim.sign_step import fused, triton_step, triton_support
from tests.optim.helpers import make_params, set_grads
from tests.optim.test_triton import CUDA, HAS_TRITON, INTERPRETED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_TRITON, reason="needs Triton, which torch's builds for CUDA bring along"),
    pytest.mark.skipif(CUDA or INTERPRETED, reason="test_triton runs the kernels"),
]

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", torch.int64: "*i64"}
SM_90 = ("cuda", 90, 32)


class Compiled:
    """Compiles a kernel in place of a launch.

    Args:
        kernel: the kernel.
        done: list to which the name of the kernel is added, with the size of its machine code.
    """

    def __init__(self, kernel: Any, done: list[tuple[str, int]]) -> None:
        self.kernel, self.done = kernel, done

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self.launch

    def launch(self, *args: Any, num_warps: int = 4, enable_fp_fusion: bool = True, **more: Any) -> None:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        given = inspect.signature(self.kernel.fn).bind(*args, **more).arguments
        constants = {p.name: given[p.name] for p in self.kernel.params if p.is_constexpr}
        signature = {
            name: "constexpr" if name in constants else type_name(value) for name, value in given.items()
        }
        numbers = {name: number for number, name in enumerate(self.kernel.arg_names)}
        source = ASTSource(self.kernel, signature, {(numbers[name],): x for name, x in constants.items()})
        options = {"num_warps": num_warps, "enable_fp_fusion": enable_fp_fusion}
        found = triton.compile(source, target=GPUTarget(*SM_90), options=options)
        self.done.append((self.kernel.fn.__name__, len(found.asm["cubin"])))


def type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return "*u8" if value.dtype == torch.uint8 else TYPES[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


CASES = {
    "plain": (SignSGD, {}, ["sign_step"]),
    "dithered": (
        SignSGD,
        {"dither": "post", "alpha": 0.1, "sign_of_zero": "random", "momentum_dtype": "bfloat16"},
        ["sign_step"],
    ),
    "hybrid": (
        HybridSignSGD,
        {"dither": "pre", "alpha": 0.1, "switch_step": 9, "capturable": True},
        ["sign_step", "sum_tiles", "observe"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_kernels_compile(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, options, expected = CASES[case]
    done: list[tuple[str, int]] = []
    monkeypatch.setattr(triton_support, "runs_on", lambda device: True)
    monkeypatch.setattr(fused, "takes_step", lambda const: False)
    for module, names in (
        (triton_step._kernel(), ["sign_step"]),
        (triton_step._sums(), ["sum_tiles", "observe"]),
    ):
        for name in names:
            monkeypatch.setattr(module, name, Compiled(getattr(module, name), done))
    params = make_params(((33, 64), (7,)))
    optimizer = cls(params, **options)
    set_grads(params, 0)
    optimizer.step()
    assert [name for name, _ in done] == expected
    assert all(size > 0 for _, size in done)
