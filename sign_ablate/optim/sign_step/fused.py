"""The fused CPU step: the steps and tensors that it supports, and the call of step.c."""

import ctypes
import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.graph import increment_version

from sign_ablate.optim import layout
from sign_ablate.optim.sign_step import native
from sign_ablate.optim.sign_step.inputs import StepConstants, Tensors

#: elements of a task, a multiple of noise.GROUP: pieces of a large parameter go to several threads
_PIECE = 1 << 19
_TYPES = (nn.Parameter, Tensor)
_MOMENTA = (torch.float32, torch.bfloat16)
_WORD = (1 << 32) - 1
_LAWS, _GRADIENT = {"gaussian": 1, "uniform": 2}, 3
_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # a child has none of its parent's threads


class _Task(ctypes.Structure):
    _fields_ = (
        ("p", ctypes.c_void_p),
        ("g", ctypes.c_void_p),
        ("m", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        ("first", ctypes.c_int64),
        ("parameter", ctypes.c_uint32),
        ("dot", ctypes.c_double),
        ("square", ctypes.c_double),
        ("energy", ctypes.c_double),
    )


class _StepConstants(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_float) for name in ("weight", "lr", "decay", "coupled", "factor", "amplitude")),
        *((name, ctypes.c_int32) for name in ("momentum", "law", "track")),
        *((name, ctypes.c_uint32) for name in ("key_low", "key_high", "step")),
    )


def takes_step(const: StepConstants) -> bool:
    """Return True if step.c implements this step: the paper's defaults, uniform dither, and SGD steps."""
    if isinstance(const.phase, Tensor) or isinstance(const.step, Tensor):
        return False
    numbers = [x for x in (const.lr, const.lam) if isinstance(x, Tensor)]
    if any(x.device.type != "cpu" for x in numbers):
        return False
    if const.phase:
        return not const.sgd_momentum
    dithered = const.dither is not None
    return (
        not const.heavy_ball
        and (const.beta == 0 or const.beta > 0.501)  # torch.lerp has another formula for weights from ½
        and not isinstance(const.sigma, Tensor)
        and const.zero == "zero"
        and (not dithered or (const.dither == "pre" and const.law in _LAWS))
        and (const.project is None or not (const.project.applied or const.project.previous))
    )


def takes_tensors(p: Tensor, g: Tensor, m: Tensor | None) -> bool:
    """Return True if step.c supports these tensors: dense float32 on the CPU, of one memory order, disjoint.

    Raises:
        RuntimeError: where a shape differs, or a storage ends too early.
    """
    if type(p) not in _TYPES or not _plain_float32(p) or type(g) is not Tensor or not _plain_float32(g):
        return False
    tensors = [p, g]
    if m is not None:
        if type(m) is not Tensor or m.dtype not in _MOMENTA or not m.is_cpu:
            return False
        tensors.append(m)
    return layout.dense_alike(tensors) and native.library() is not None


def _plain_float32(x: Tensor) -> bool:
    return (
        x.dtype is torch.float32
        and x.is_cpu
        and not (x.is_neg() or x._is_zerotensor() or is_functorch_wrapped_tensor(x))
    )


def step(work: Sequence[Tensors], const: StepConstants) -> list[tuple[float, float, float]]:
    """One step of every tensor. Returns ⟨s, g⟩, ‖g‖² and ‖s‖² of each.

    `takes_step` and `takes_tensors` hold for them, and their momenta are of one dtype.
    """
    if isinstance(const.lam, Tensor) and const.lam.numel() > 1:  # one λ̄ per parameter
        return [step([x], dataclasses.replace(const, lam=const.lam[x[4]]))[0] for x in work]
    library = native.library()
    assert library is not None
    width = 2 if work[0][2] is not None and work[0][2].dtype is torch.bfloat16 else 4
    pieces: list[tuple[Any, ...]] = []
    owners = []
    for i, (p, g, m, index, _) in enumerate(work):
        n, x, y, z = p.numel(), p.data_ptr(), g.data_ptr(), 0 if m is None else m.data_ptr()
        for a in range(0, n, _PIECE):
            pieces.append((x + 4 * a, y + 4 * a, z + width * a, min(_PIECE, n - a), a, index))
            owners.append(i)
    tasks = (_Task * len(pieces))(*pieces)  # type: ignore[misc]
    _call(library, tasks, _constants(const, work), work)
    # autograd's version counters: torch's own in-place operations update them by themselves
    increment_version([t for p, _, m, *_ in work for t in (p, m) if t is not None])
    sums = [(0.0, 0.0, 0.0)] * len(work)
    if const.project is not None:
        for task, i in zip(tasks, owners, strict=True):
            dot, square, energy = sums[i]
            sums[i] = dot + task.dot, square + task.square, energy + task.energy
    return sums


def _constants(const: StepConstants, work: Sequence[Tensors]) -> _StepConstants:
    m = work[0][2]
    momentum = 0 if m is None else 2 if m.dtype is torch.bfloat16 else 1
    law, amplitude, lr = 0, 0.0, const.lr
    if const.phase:
        law, momentum, lr = _GRADIENT, 0, const.lam
    elif const.sigma:
        law = _LAWS[const.law]
        amplitude = (
            min(1 / float(const.sigma), 1e38) if const.law == "gaussian" else float(const.sigma) * 3**0.5
        )
    decay = 1.0 if const.decay is None else float(const.decay)
    return _StepConstants(
        1 - const.beta, float(lr), decay, const.coupled, const.factor, amplitude,
        momentum, law, 0 if const.project is None else 1 + const.project.energy,
        const.seed & _WORD, const.seed >> 32 & _WORD, const.step & _WORD,
    )  # fmt: skip


def _overlap(work: Sequence[Tensors]) -> bool:
    """Return True if a tensor that the step writes shares memory with a tensor of another parameter."""
    tensors = [(t, t is not g) for p, g, m, *_ in work for t in (p, g, m) if t is not None]
    spans = sorted((t.data_ptr(), t.data_ptr() + t.nbytes, written) for t, written in tensors if t.nbytes)
    any_end = written_end = 0
    for start, end, written in spans:
        if start < written_end or (written and start < any_end):
            return True
        any_end = max(any_end, end)
        written_end = max(written_end, end) if written else written_end
    return False


def _call(
    library: ctypes.CDLL, tasks: ctypes.Array[_Task], const: _StepConstants, work: Sequence[Tensors]
) -> None:
    """Run the tasks on torch's number of threads. ctypes releases the interpreter's lock.

    Parameters that share memory are stepped one after the other in one thread, as the plain step does.
    """
    count, threads = len(tasks), min(torch.get_num_threads(), len(tasks))
    total = sum(task.n for task in tasks) if threads > 1 else 0
    if total < 4 * _PIECE or _overlap(work):
        library.sign_ablate_step(ctypes.byref(tasks), ctypes.c_int64(count), ctypes.byref(const))
        return
    bounds, done = [0], 0
    for i, task in enumerate(tasks):
        done += task.n
        if done * threads >= total * len(bounds):
            bounds.append(i + 1)
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="sign-ablate")
    size = ctypes.sizeof(_Task)

    def run(a: int, b: int) -> None:
        library.sign_ablate_step(ctypes.byref(tasks, a * size), ctypes.c_int64(b - a), ctypes.byref(const))

    futures = []
    for a, b in itertools.pairwise(bounds):
        try:
            futures.append(_pools[threads].submit(run, a, b))
        except RuntimeError:  # this thread outlives the main one: the pool has been shut down
            run(a, b)
    for future in futures:
        future.result()
