"""Time of one optimizer step on ResNet-18's parameters, as a Markdown table.

    python -m benchmarks.optim [--device cpu|cuda] [--rounds 60] [--iterations 10]
                               [--output docs/bench-optim.md]

CPU: one thread, process CPU time. Every round times each optimizer once, in turn; the table has the
median over rounds of the ratio to `torch.optim.SGD(fused=True)` in the same round, which a busy machine
moves little. CUDA: events around several steps, and the time over the bandwidth limit.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from benchmarks import iteration
from sign_ablate.claims.table import MEASUREMENTS_SCHEMA
from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.store.run_files import write_table

Step = Callable[[], Any]
#: fresh allocations: which pages the parameters get moves a ratio by up to 3 %
PLACEMENTS = 5
#: SignSGD-M and SGD-M read p, g, m and write p, m
BYTES = {"momentum": 20, "none": 12, "bfloat16": 16, "adam": 28}
#: the largest ratios that we accept on a CPU
BARS = {
    "**SignSGD-M**": 1.1,
    "**SignSGD** (no momentum)": 1.1,
    "**SignSGD-M, m in bfloat16**": 1.1,
    "**pre-sign dither, Gaussian**": 2.0,
    "**pre-sign dither, Gaussian, large m∕σ**": 2.0,
    "**pre-sign dither, uniform**": 2.0,
    "**hybrid, sign phase (λ tracked)**": 1.2,
    "**dithered hybrid, sign phase**": 2.0,
    "**hybrid, SGD phase**": 1.1,
    "SignSGD-M, plain fallback": 4.0,
    "pre-sign dither, plain fallback": 4.0,
    "hybrid, plain fallback": 4.0,
}


def bar(name: str, ratio: float) -> str:
    """The cell of the table that says what the ratio may be, and if it is above."""
    limit = BARS.get(name)
    return "" if limit is None else f"{limit}" if ratio <= limit else f"{limit}, missed"


def resnet18_shapes() -> list[tuple[int, ...]]:
    """The 62 parameters of ResNet-18 with the 3×3 stem of CIFAR and 10 classes."""

    def norm(width: int) -> list[tuple[int, ...]]:
        return [(width,), (width,)]

    shapes: list[tuple[int, ...]] = [(64, 3, 3, 3), *norm(64)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            shapes += [(width, before, 3, 3), *norm(width), (width, width, 3, 3), *norm(width)]
            if block == 0 and width != before:
                shapes += [(width, before, 1, 1), *norm(width)]
            before = width
    return [*shapes, (10, 512), (10,)]


def parameters(device: str) -> list[nn.Parameter]:
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, device=device) * 0.05) for shape in resnet18_shapes()]
    for p in params:
        p.grad = torch.randn_like(p) * 1e-3
    return params


def contenders(device: str, *, compiled: bool) -> dict[str, tuple[Step, str]]:
    """Name → (step, kind of traffic). The first is what the others are compared with."""

    def make(factory: Any, **options: Any) -> Step:
        step = factory(parameters(device), **{"lr": 1e-6, "weight_decay": 1e-4, **options}).step
        return torch.compile(step) if compiled and options.get("capturable") else step  # type: ignore[no-any-return]

    sgd, adam = torch.optim.SGD, torch.optim.Adam
    on_cpu = device == "cpu"
    more: dict[str, Any] = {} if on_cpu else {"capturable": True}
    pre: dict[str, Any] = {"dither": "pre", "alpha": 0.1}
    out = {
        "torch SGD-M, fused": (make(sgd, momentum=0.9, fused=True), "momentum"),
        "torch SGD-M, foreach": (make(sgd, momentum=0.9, foreach=True), "momentum"),
        "torch Adam, fused": (make(adam, fused=True), "adam"),
        "torch Adam, foreach": (make(adam, foreach=True), "adam"),
        "**SignSGD-M**": (make(SignSGD, **more), "momentum"),
        "**SignSGD** (no momentum)": (make(SignSGD, beta=0.0, **more), "none"),
        "**SignSGD-M, m in bfloat16**": (make(SignSGD, momentum_dtype="bfloat16", **more), "bfloat16"),
        "**pre-sign dither, Gaussian**": (make(SignSGD, **pre, **more), "momentum"),
        "**pre-sign dither, Gaussian, large m∕σ**": (
            make(SignSGD, **{**pre, "alpha": 1e-8}, **more),
            "momentum",
        ),
        "**pre-sign dither, uniform**": (make(SignSGD, **pre, law="uniform", **more), "momentum"),
        "**hybrid, sign phase (λ tracked)**": (make(HybridSignSGD, **more), "momentum"),
        "**dithered hybrid, sign phase**": (make(HybridSignSGD, **pre, **more), "momentum"),
        "**hybrid, SGD phase**": (make(HybridSignSGD, switch_step=1, **more), "none"),
        "SignSGD-M, plain fallback": (make(SignSGD, foreach=False), "momentum"),
        "SignSGD-M, foreach": (make(SignSGD, foreach=True), "momentum"),
        "pre-sign dither, plain fallback": (make(SignSGD, **pre, foreach=False), "momentum"),
        "hybrid, plain fallback": (make(HybridSignSGD, foreach=False), "momentum"),
    }
    try:
        import pytorch_optimizer as peers
    except ImportError:
        return out
    out["pytorch_optimizer SignSGD"] = (make(peers.SignSGD, momentum=0.9), "momentum")
    out["pytorch_optimizer Lion"] = (make(peers.Lion), "momentum")
    return out


def cpu_seconds(step: Step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def cuda_seconds(step: Step, repeats: int = 20) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def once_on_cuda(step: Step) -> float:
    return cuda_seconds(step, repeats=1)


def bandwidth(device: str, seconds: Callable[[Step], float]) -> float:
    """Bytes per second: the best of a copy, a sum in place and a scaling in place of large arrays."""
    a, b = (torch.ones(16_000_000, device=device) for _ in range(2))
    passes: list[tuple[int, Step]] = [
        (2, lambda: a.copy_(b)),
        (3, lambda: a.add_(b)),
        (2, lambda: a.mul_(1.0)),
    ]
    return max(4 * n * a.numel() / seconds(step) for _ in range(10) for n, step in passes)


def measure(device: str, rounds: int, *, compiled: bool) -> list[str]:
    """The rows of the table."""
    seconds = cpu_seconds if device == "cpu" else cuda_seconds
    times: dict[str, list[float]] = {}
    placements = PLACEMENTS if device == "cpu" else 1
    for _ in range(placements):
        steps = contenders(device, compiled=compiled)
        for step, _ in steps.values():
            for _ in range(3):
                step()
        for _ in range(max(1, rounds // placements)):
            for name, (step, _) in steps.items():
                times.setdefault(name, []).append(seconds(step))
    count = sum(p.numel() for p in parameters(device))
    limit = bandwidth(device, seconds)
    reference = next(iter(times.values()))
    rows = []
    for name, (_, kind) in steps.items():
        ratios = sorted(t / r for t, r in zip(times[name], reference, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        middle, median = statistics.median(ratios), statistics.median(times[name])
        over = median / (BYTES[kind] * count / limit)
        limit = bar(name, middle) if device == "cpu" else ""
        rows.append(
            f"| {name} | {middle:.2f} | {limit} | {low:.2f}–{high:.2f} | {median * 1e3:.2f} | {over:.1f} |"
        )
    return rows


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} CPUs, {torch.backends.cpu.get_cpu_capability()}, 1 thread"


def versions() -> str:
    names = {"torch": torch.__version__, "Python": platform.python_version()}
    try:
        from importlib.metadata import version

        names["pytorch_optimizer"] = version("pytorch_optimizer")
    except ImportError:
        pass
    return ", ".join(f"{name} {number}" for name, number in names.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--iterations", type=int, default=10, help="rounds of whole training iterations")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measurements", type=Path, help="table for the ledger of claims")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock = cpu_seconds if options.device == "cpu" else once_on_cuda
    whole = iteration.measure(options.device, options.iterations, clock)
    if options.measurements:
        how = f"benchmarks.optim; {machine(options.device)}; {time.strftime('%Y-%m-%d')}"
        rows = [iteration.measurement(whole, how)]
        write_table(options.measurements, rows, MEASUREMENTS_SCHEMA)
    count = sum(p.numel() for p in parameters("meta"))
    text = "\n".join(
        [
            "# One optimizer step on ResNet-18's parameters",
            "",
            f"{len(resnet18_shapes())} tensors, {count:,} parameters, float32; weight decay. {versions()}.",
            f"{machine(options.device)}; {time.strftime('%Y-%m-%d')}; {options.rounds} rounds.",
            "",
            "| step | ratio to torch's fused SGD-M | bar | quartiles | ms | time over bandwidth limit |",
            "|---|---|---|---|---|---|",
            *measure(options.device, options.rounds, compiled=options.device == "cuda"),
            "",
            *iteration.table(whole),
            "",
        ]
    )
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
