"""Host side of the Triton step: the tensors that it supports, their table, and the launches."""

import contextlib
import ctypes
import functools
import importlib
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from sign_ablate.optim import layout
from sign_ablate.optim.sign_step import triton_support
from sign_ablate.optim.sign_step.inputs import StepConstants, Tensors
from sign_ablate.optim.sign_step.upload import on_device

_TYPES = (nn.Parameter, Tensor)
_DTYPES = (torch.float32, torch.bfloat16)
_MOST = (1 << 31) - (1 << 16)  # coordinates are numbered in 32 bits
_WORD = (1 << 32) - 1
_HERE = contextlib.nullcontext()
_LARGE = "ema, weight from ½"


def takes_step(const: StepConstants) -> bool:
    """Return True if Triton is installed: the kernel implements every step of SignSGD and HybridSignSGD."""
    return triton_support.is_installed()


@functools.cache
def _kernel() -> Any:
    return importlib.import_module("sign_ablate.optim.sign_step.triton_kernel")


@functools.cache
def _sums() -> Any:
    return importlib.import_module("sign_ablate.optim.sign_step.triton_sums")


def takes_tensors(p: Tensor, g: Tensor, m: Tensor | None) -> bool:
    """Return True if the kernel supports these tensors: dense float32 or bfloat16 on CUDA, disjoint.

    With TRITON_INTERPRET=1 the kernel works on the CPU, slowly.

    Raises:
        RuntimeError: where a shape differs, or a storage ends too early.
    """
    tensors = [p, g] if m is None else [p, g, m]
    if type(p) not in _TYPES or any(type(t) is not Tensor for t in tensors[1:]):
        return False
    if not triton_support.runs_on(p.device):
        return False
    for t in tensors:
        if t.dtype not in _DTYPES or t.device != p.device or t.is_neg() or t._is_zerotensor():
            return False
    return p.numel() < _MOST and layout.dense_alike(tensors)


def step(work: Sequence[Tensors], const: StepConstants) -> list[Any]:
    """One step of every tensor. Returns ⟨s, g⟩, ‖g‖² and ‖s‖² of each with `const.project`, else Nones.

    `takes_tensors` holds for them.
    """
    alike: dict[Any, list[int]] = {}
    for i, (p, g, m, *_) in enumerate(work):
        if p.numel():
            alike.setdefault((p.device, p.dtype, g.dtype, None if m is None else m.dtype), []).append(i)
    sums: list[Any] = [None] * len(work)
    for chosen in alike.values():
        found = _launch([work[i] for i in chosen], const)
        if found is not None:
            for i, row in zip(chosen, found.unbind(), strict=True):
                sums[i] = row
    # autograd's version counters: torch's own in-place operations update them by themselves
    increment_version([t for p, _, m, *_ in work for t in (p, m) if t is not None])
    return sums


def _launch(work: list[Tensors], const: StepConstants) -> Tensor | None:
    """Step tensors of one device and dtypes. Returns a row of sums for each."""
    kernel, (p, g, m, *_) = _kernel(), work[0]
    sizes = tuple(t.numel() for t, *_ in work)
    pointers = [
        (p.data_ptr(), g.data_ptr(), g.data_ptr() if m is None else m.data_ptr()) for p, g, m, *_ in work
    ]
    counts, starts = _tiles(sizes, kernel.TILE)
    tiles = starts[-1] + counts[-1]
    rows = tuple(
        (*row, size, x[3] & _WORD, x[4], start)
        for row, size, x, start in zip(pointers, sizes, work, starts, strict=True)
    )
    with torch.cuda.device(p.device) if p.is_cuda else _HERE:
        table = on_device(rows, lambda: torch.tensor(rows, dtype=torch.int64), p.device)
        owners = on_device(
            counts,
            lambda: torch.repeat_interleave(
                torch.arange(len(counts), dtype=torch.int32), torch.tensor(counts)
            ),
            p.device,
        )
        partial = table
        if const.project is not None and const.phase is not True:
            partial = torch.empty((tiles, 3), dtype=torch.float32, device=p.device)
        constants = _constants(const, m is not None)
        kernel.sign_step[(tiles,)](
            table, owners, partial, **_numbers(const, p.device), **constants,
            P=_name(p), G=_name(g), M=_name(g if m is None else m),
            ALIGNED=all(x % 16 == 0 for row in pointers for x in row),
            GROUPS=kernel.GROUPS, COLUMNS=kernel.COLUMNS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        if partial is table:
            return None
        total = torch.empty((len(work), 3), dtype=torch.float32, device=p.device)
        _sums().sum_tiles[(len(work),)](
            table, partial, total, len(work), tiles, constants["ENERGY"], 512, kernel.COLUMNS,
            num_warps=4,
        )  # fmt: skip
        return total


def observe(
    group: dict[str, Any], state: list[Tensor], sums: Tensor, lr: float | Tensor, phase: bool | Tensor
) -> Tensor:
    """Average λ_k in one launch, as projection.ratio and .observe do. Returns a mask of the λ_k used.

    Args:
        group: the parameter group.
        state: its averages, weights, last and skipped, one per row of the sums.
        sums: ⟨s, g⟩, ‖g‖² and ‖s‖².
        lr: δ.
        phase: see HybridSignSGD.phase.
    """
    device, rows = sums.device, len(sums)
    useful = torch.empty(rows, dtype=torch.uint8, device=device)
    weight = _float32(1 - group["eta"])
    with torch.cuda.device(device) if sums.is_cuda else _HERE:
        _sums().observe[(-(-rows // 128),)](
            sums.contiguous(), *state, useful, rows, float(group["eps"]),
            weight if weight < 0.5 else 1 - weight, weight if group["bias_correction"] else 1.0,
            _number(lr, device), _number(phase, device),
            SWATS=group["lambda_rule"] == "swats", FROZEN=group["lambda_schedule"] == "frozen",
            SMALL=weight < 0.5, PHASE=isinstance(phase, Tensor), BLOCK=128, enable_fp_fusion=False,
        )  # fmt: skip
    return useful.view(torch.bool)


def observes(group: dict[str, Any], sums: Tensor) -> bool:
    """Return True if `observe` can run: Triton is installed, and no other implementation is chosen."""
    if group["fused"] is None and group["foreach"] is not None:
        return False
    usual = not (group["fused"] is False or group["differentiable"] or torch.compiler.is_compiling())
    return (
        usual
        and type(sums) is Tensor
        and triton_support.is_installed()
        and triton_support.runs_on(sums.device)
    )


@functools.lru_cache(64)
def _tiles(sizes: tuple[int, ...], tile: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The number of tiles of each tensor, and its first."""
    counts = tuple(-(-size // tile) for size in sizes)
    starts = (0, *itertools.accumulate(counts[:-1]))
    return counts, starts


def _constants(const: StepConstants, momentum: bool) -> dict[str, Any]:
    """Compile-time constants of the kernel."""
    kernel, project = _kernel(), const.project
    form, law, projected = "none", None, None
    if momentum and (const.phase is not True or const.sgd_momentum):
        form = "heavy ball" if const.heavy_ball else "ema" if _float32(1 - const.beta) < 0.5 else _LARGE
    if const.dither is not None and (isinstance(const.sigma, Tensor) or const.sigma):
        law = (const.dither, "uniform" if const.dither == "post" and const.law != "gaussian" else const.law)
    if project is not None and const.phase is not True:
        projected = "applied" if project.applied else "previous" if project.previous else "clean"
    on_device = isinstance(const.phase, Tensor)
    return {
        "MOMENTUM": kernel.MOMENTUM[form],
        "ZERO": kernel.ZERO[const.zero],
        "LAW": kernel.LAW[law] if const.phase is not True else 0,
        "CHECK": isinstance(const.sigma, Tensor),
        "PHASE": _switch(const.phase),
        "FIRST": _switch(const.first_sgd),
        "SGD_MOMENTUM": const.sgd_momentum and momentum,
        "SCALED": const.factor != 1,
        "COUPLED": const.coupled != 0,
        "TWICE": isinstance(const.lr, Tensor) or on_device,
        "STOCHASTIC": const.stochastic,
        "PROJECT": kernel.PROJECT[projected],
        "ENERGY": project is not None and project.energy,
        "LAM_EACH": isinstance(const.lam, Tensor) and const.lam.dim() == 1 and const.lam.numel() > 1,
    }


def _numbers(const: StepConstants, device: torch.device) -> dict[str, Any]:
    """The numbers of the step: floats, or tensors on the device, which the kernel reads there."""
    weight, sigma, lam = _float32(1 - const.beta), const.sigma, const.lam
    amplitude: float | Tensor = sigma
    if const.dither == "pre" and const.law == "gaussian":
        amplitude = 1 / sigma if isinstance(sigma, Tensor) else min(1 / sigma, 1e38) if sigma else 0.0
    elif const.dither == "pre":
        amplitude = sigma * 3**0.5
    if const.sgd_momentum and const.phase is not False:
        lam = lam * (1 - const.beta)

    step = const.step if isinstance(const.step, Tensor) else _signed(const.step)
    return {
        "lr": _number(const.lr, device),
        "weight": weight if weight < 0.5 else 1 - weight,
        "beta": float(const.beta),
        "decay": 1.0 if const.decay is None else _number(const.decay, device),
        "coupled": float(const.coupled),
        "factor": float(const.factor),
        "sigma": _number(sigma, device),
        "amplitude": _number(amplitude, device),
        "lam": _number(lam, device),
        "phase": _number(const.phase, device),
        "first": _number(const.first_sgd, device),
        "key_low": _signed(const.seed),
        "key_high": _signed(const.seed >> 32),
        "step": step,
    }


def _number(x: Any, device: torch.device) -> Any:
    """A kernel's argument: a float, or a tensor on the device."""
    if not isinstance(x, Tensor):
        return float(x)
    if x.device != device:
        return float(x) if x.is_cpu and x.numel() == 1 else x.to(device)
    return x.view(torch.uint8) if x.dtype == torch.bool else x.contiguous()


def _switch(value: bool | Tensor) -> int:
    kernel = _kernel()
    on_device: int = kernel.ON_DEVICE if isinstance(value, Tensor) else int(value)
    return on_device


def _float32(x: float) -> float:
    """x, rounded to float32."""
    return ctypes.c_float(x).value


def _signed(x: int) -> int:
    """The low 32 bits of x, as an int32: an argument of another type would recompile the kernel."""
    return ctypes.c_int32(x & _WORD).value


def _name(x: Tensor) -> Any:
    import triton.language as tl

    return {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16}[x.dtype]
