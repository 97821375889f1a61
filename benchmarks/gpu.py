"""Time, launches and bandwidth of one optimizer step on a CUDA device, as Markdown tables.

    python -m benchmarks.gpu [--output docs/bench-gpu.md]

The parameters of ResNet-18 for CIFAR (62 tensors), and one tensor of 25 million. Three times each: eager, as
the host and the device together take it; the device's, from CUDA events around steps that are queued; and a
CUDA graph's replay where the optimizer can be captured. The share of bandwidth is of the device time, with
the bytes that the step must move, against a copy on the device. Needs torch and Triton only.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.optim import parameters, resnet18_shapes
from sign_ablate.optim import HybridSignSGD, SignSGD

Step = Callable[[], Any]
ONE = ((5000, 5000),)
#: read p, g and write p; with momentum read and write m too
NONE, MOMENTUM, ADAM = 12, 20, 28
FORMS: dict[str, dict[str, Any]] = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "triton": {}}


def parameters_of(shapes: Any) -> list[nn.Parameter]:
    if shapes is not ONE:
        return parameters("cuda")
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(*ONE[0], device="cuda") * 0.05)
    p.grad = torch.randn_like(p) * 1e-3
    return [p]


def contenders() -> dict[str, tuple[Any, dict[str, Any], int]]:
    """Name → (class, options, bytes per parameter)."""
    sgd, adam = torch.optim.SGD, torch.optim.Adam
    out: dict[str, tuple[Any, dict[str, Any], int]] = {
        "torch SGD-M, foreach": (sgd, {"momentum": 0.9, "foreach": True}, MOMENTUM),
        "torch SGD-M, fused": (sgd, {"momentum": 0.9, "fused": True}, MOMENTUM),
        "torch Adam, fused": (adam, {"fused": True}, ADAM),
    }
    pre = {"dither": "pre", "alpha": 0.1}
    rules: dict[str, tuple[Any, dict[str, Any], int]] = {
        "SignSGD-M": (SignSGD, {}, MOMENTUM),
        "pre-sign dither, Gaussian": (SignSGD, pre, MOMENTUM),
        "pre-sign dither, uniform": (SignSGD, {**pre, "law": "uniform"}, MOMENTUM),
        "post-sign dither": (SignSGD, {**pre, "dither": "post"}, MOMENTUM),
        "hybrid, sign phase": (HybridSignSGD, {}, MOMENTUM),
        "dithered hybrid, sign phase": (HybridSignSGD, pre, MOMENTUM),
        "hybrid, SGD phase": (HybridSignSGD, {"switch_step": 1}, NONE),
    }
    for name, (kind, options, traffic) in rules.items():
        for form, how in FORMS.items():
            out[f"{name}: {form}"] = (kind, {**options, **how}, traffic)
    return out


def wall_us(step: Step, repeats: int) -> float:
    """Host and device together."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats * 1e6


def kernels(step: Step) -> list[tuple[str, float]]:
    """The kernels and copies of a step, and their time on the device in µs."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    return [
        (event.name, event.time_range.elapsed_us())
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
        and "Synchronize" not in event.name
    ]


def graph_us(kind: Any, options: dict[str, Any], params: list[nn.Parameter], repeats: int) -> float | None:
    """A captured step's replay, µs; None where it cannot be captured."""
    try:
        optimizer = kind(params, lr=1e-6, weight_decay=1e-4, capturable=True, **options)
    except TypeError:
        return None
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return wall_us(graph.replay, repeats)


def copy_bandwidth() -> float:
    """Bytes per second of a copy on the device, read and written."""
    a, b = (torch.ones(1 << 28, dtype=torch.float32, device="cuda") for _ in range(2))
    best = min(wall_us(lambda: a.copy_(b), 10) for _ in range(5))
    return 2 * a.nbytes / best * 1e6


def row(name: str, kind: Any, options: dict[str, Any], traffic: int, shapes: Any, bandwidth: float) -> str:
    params = parameters_of(shapes)
    count = sum(p.numel() for p in params)
    step = kind(params, lr=1e-6, weight_decay=1e-4, **options).step
    for _ in range(3):
        step()
    slow = wall_us(step, 1) > 5e3
    repeats, rounds = (3, 3) if slow else (30, 5)
    wall = statistics.median(wall_us(step, repeats) for _ in range(rounds))
    kernels(step)  # the profiler's own warm-up
    found = kernels(step)
    device = sum(us for _, us in found)
    graph = None
    if not slow:
        try:
            graph = graph_us(kind, options, parameters_of(shapes), 100)
        except Exception as error:
            print(f"{name}: not captured: {str(error).splitlines()[0]}", flush=True)
            torch.cuda.synchronize()
    share = traffic * count / (device * 1e-6) / bandwidth
    replay = "–" if graph is None else f"{graph:.0f}"
    return f"| {name} | {len(found)} | {wall:.0f} | {device:.0f} | {replay} | {100 * share:.0f} % |"


def table(title: str, shapes: Any, bandwidth: float) -> list[str]:
    lines = [
        f"## {title}",
        "",
        "| step | launches | µs, eager | µs on the device | µs, graph | of the copy |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, (kind, options, traffic) in contenders().items():
        lines.append(row(name, kind, options, traffic, shapes, bandwidth))
        print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    start, bandwidth = time.perf_counter(), copy_bandwidth()
    import triton

    lines = [
        "# One optimizer step on a GPU",
        "",
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Triton {triton.__version__}; "
        f"{time.strftime('%Y-%m-%d')}. A copy on the device: {bandwidth / 1e9:.0f} GB/s, read and written.",
        "float32; weight decay. Launches: kernels and copies. A captured step has its numbers on the device.",
        "",
    ]
    for title, shapes in (
        (f"ResNet-18, {len(resnet18_shapes())} tensors, 11.2 million parameters", None),
        ("One tensor of 25 million", ONE),
    ):
        lines += table(title, shapes, bandwidth)
        if options.output:  # after each table: what is done is kept
            options.output.write_text("\n".join(lines))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
