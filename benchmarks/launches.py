"""Launches of one step of every registered optimizer on ResNet-18's parameters, as a Markdown table.

    python -m benchmarks.launches [--output docs/bench-launches.md]

Counted on the meta device, which takes a GPU's paths and needs none: operations that compute something on the
device's tensors, of the dearest step that creates no state. A foreach function counts as one launch where its
lists are alike, and else as one per tensor, as torch runs it.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.optim import resnet18_shapes
from sign_ablate.optim import registry
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.sign_step import triton_step, triton_support

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
META = torch.device("meta")
#: an operation of these launches nothing
NOTHING = ("aten::detach", "aten::promote_types", "aten::_unsafe_view", "profiler::")
#: options that have no default; switches come after the second step
OPTIONS: dict[str, dict[str, Any]] = {
    "dithered": {"site": "pre", "alpha": 0.1},
    "dithered-hybrid": {"site": "pre", "alpha": 0.1, "t_switch": 1},
    "hybrid": {"t_switch": 1},
    "linear-twin": {"alpha": 0.1, "noise": True},
    "naive-switch": {"t_switch": 1},
    "onebit-adam": {"warmup_steps": 2},
    "sgd": {"momentum": 0.9},
    "sgd-noise": {"alpha": 0.1},
}
STEPS = 5


class Launches(TorchDispatchMode):
    """Names of the operations that launch a kernel on a device other than the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, out = func._schema.name, func(*args, **(kwargs or {}))
        free = func.is_view or "empty" in name or name.startswith(NOTHING)
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        if not free and any(x.device.type != "cpu" for x in tensors):
            self.names += [name] * (_slow(args) if "_foreach" in name else 1)
        return out


def _slow(args: Any) -> int:
    """Launches of a foreach function: 1 if torch takes its fast path, else the number of tensors."""
    lists = [x for x in args if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor)]
    alike = all(
        len({(t.shape, t.stride(), t.dtype, t.device) for t in tensors}) == 1
        for tensors in zip(*lists, strict=True)
    )
    return 1 if alike and len({t.dtype for t in lists[0]}) == 1 else len(lists[0])


def parameters() -> list[nn.Parameter]:
    """ResNet-18's parameters, in the memory order that training gives them."""
    tensors = [torch.empty(shape, device=META) for shape in resnet18_shapes()]
    last = torch.channels_last
    return [nn.Parameter(t.to(memory_format=last) if t.dim() == 4 else t) for t in tensors]


def launches(make: Make) -> list[str]:
    """Operations of the step that has the most of them, of those after the first that create no state."""
    params = parameters()
    optimizer = make(params)
    found: list[list[str]] = []
    for k in range(STEPS):
        for p in params:
            p.grad = torch.empty_like(p)
        known = _tensors(optimizer)
        with Launches() as counted:
            optimizer.step()
        if k and _tensors(optimizer) == known:
            found.append(counted.names)
    return max(found, key=len)


def _tensors(optimizer: torch.optim.Optimizer) -> int:
    """The number of the tensors of its state."""
    return sum(isinstance(x, Tensor) for x in tree_leaves(list(optimizer.state.values())))


def registered(name: str, **implementation: Any) -> Make:
    """Constructor of a registered optimizer."""
    options = {"lr": 0.1, **OPTIONS.get(name, {}), **implementation}
    return lambda params: registry.build(name, options, params, seed=0, steps_per_epoch=2)


@contextlib.contextmanager
def triton_on_meta() -> Iterator[None]:
    """Let the Triton step take meta tensors: its launches are counted as operations, and compute nothing."""
    arrays: dict[Any, Tensor] = {}

    class Launch:
        def __getitem__(self, grid: Any) -> Callable[..., None]:
            return lambda *args, **constants: torch.zeros(1, device=META)

    def cached(key: Any, array: Callable[[], Tensor], device: torch.device) -> Tensor:
        if key not in arrays:
            arrays[key] = array().to(device)
        return arrays[key]

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(triton_step._kernel(), "sign_step", Launch()))
        for name in ("sum_tiles", "observe"):
            stack.enter_context(mock.patch.object(triton_step._sums(), name, Launch()))
        stack.enter_context(
            mock.patch.object(triton_support, "runs_on", lambda device: device.type == "meta")
        )
        stack.enter_context(mock.patch.object(triton_step.layout, "dense_alike", return_value=True))
        stack.enter_context(mock.patch.object(triton_step, "on_device", cached))
        yield


def triton_launches(name: str) -> list[str]:
    """Operations of the Triton step of a registered optimizer that has one."""
    with triton_on_meta():
        return launches(registered(name))


def has_triton(name: str) -> bool:
    """Return True if a registered optimizer has a Triton step."""
    return "capturable" in declared(registry.METHODS[name].options)


def others() -> Iterator[tuple[str, Make]]:
    """Optimizers of other libraries, where they are installed."""
    with contextlib.suppress(ImportError):
        import pytorch_optimizer as peers

        yield "pytorch_optimizer SignSGD", lambda params: peers.SignSGD(params, lr=0.1)
        yield "pytorch_optimizer Lion", lambda params: peers.Lion(params, lr=0.1)
    with contextlib.suppress(ImportError):
        import heavyball

        # torch.compile, HeavyBall's default, does not run below a dispatch mode.
        heavyball.utils.compile_mode = None
        yield "HeavyBall AdamW, not compiled", lambda params: heavyball.AdamW(params, lr=0.1)
        yield "HeavyBall SignLaProp, not compiled", lambda params: heavyball.SignLaProp(params, lr=0.1)


def rows() -> Iterable[tuple[str, str, str, str]]:
    """Name, and launches by a loop over the parameters, by foreach and in Triton."""
    for name in registry.METHODS:
        loop, together = (len(launches(registered(name, foreach=flag))) for flag in (False, True))
        kernels = (
            str(len(triton_launches(name))) if has_triton(name) and triton_support.is_installed() else "–"
        )
        yield name, f"{loop:,}", f"{together:,}", kernels
    for name, make in others():
        try:
            count = f"{len(launches(make)):,}"
        except Exception as error:  # it may need a device that computes
            count = f"not counted: {type(error).__name__}"
        yield name, "–", count, "–"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    output: Path | None = parser.parse_args().output
    lines = [
        "# Launches of one optimizer step",
        "",
        f"ResNet-18's {len(resnet18_shapes())} tensors, convolutions in channels_last; torch "
        f"{torch.__version__}, {time.strftime('%Y-%m-%d')}. Counted without a GPU by",
        "`python -m benchmarks.launches`, which writes this page: operations on the meta device, views left",
        "out, of the dearest step that creates no state. A GPU may run an operation in more than one kernel",
        "(`topk`, sums of large tensors). Its default is Triton where that has a column, and else foreach.",
        "",
        "| optimizer | loop over parameters | foreach | Triton |",
        "|---|---|---|---|",
    ]
    print("\n".join(lines))
    for row in rows():
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    if output:
        output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
