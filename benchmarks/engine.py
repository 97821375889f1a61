"""`python -m benchmarks.engine`: the training engine against a usual script; writes docs/bench-engine.md.

Ratios are medians of interleaved pairs in one run. On a CPU they compare CPU time of one thread, DataLoader
workers included, because machines may be shared. Wall time is used on a GPU and to measure scheduling.
"""

import os
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; DataLoader's workers inherit it
os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="sign-ablate-bench-")  # empty

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from benchmarks import usual
from benchmarks.card import RESNET18_FLOP
from benchmarks.measure import (
    CPU,
    DECAY,
    SGD,
    Ours,
    Row,
    clock_of,
    cpu_seconds,
    machine,
    paired,
    precision_of,
    random_images,
    timed,
)
from sign_ablate import models
from sign_ablate.data.batches import Loader
from sign_ablate.jobs.setup import set_up_cuda

OUT = Path(__file__).parents[1] / "docs" / "bench-engine.md"
NOTES = """\
`make bench` writes this page. Medians of interleaved pairs in one run, one thread, CPU time of all processes
(wall time side by side, for compiling, and on a GPU). The usual script is `benchmarks/usual.py`: DataLoader
with two workers and PIL transforms, eager float32, the same network, batch and optimizer; the start of its
workers is included. Ours runs in bfloat16 where the hardware has it, else in float32. The bars were set on a
CPU that has it (avx512_bf16): without, channels_last and the batches are all that is gained."""


def epochs(model: str, images: tuple[int, int], batch: int, pairs: int, bar: str) -> Row:
    """Compare whole epochs, evaluation included, with the usual script."""
    data = random_images(*images)
    script = usual.Script(models.build(model, 3, 10, seed=0), data, batch=batch, decay=DECAY, **SGD)
    ours = Ours(model, data, batch, CPU)
    a, b, ratio = paired(script.epoch, ours.epoch, pairs, cpu_seconds)
    what = f"whole epoch, {model}, batch {batch}, {images[0]:,} + {images[1]:,} images, {precision_of(CPU)}"
    return what, f"usual {a:.2f} s, ours {b:.2f} s CPU", f"{ratio:.2f}×", bar


def batching(pairs: int) -> Row:
    """Compare crop, flip and normalisation alone."""
    count = 5000
    data = random_images(count, 0)
    loader = Loader(
        data.train_images, data.train_labels, data.mean, data.std,
        batch_size=128, crop_padding=4, flip=True, device=CPU,
    )  # fmt: skip
    transform = usual.augmented(data)
    arrays = data.train_images[:1000].numpy()

    def pil() -> None:
        for array in arrays:
            transform(Image.fromarray(array))

    def ours() -> None:
        for _ in loader.epoch(0, 1):
            pass

    a, b, ratio = paired(pil, ours, pairs, time.process_time)
    speeds = f"PIL {len(arrays) / a:,.0f}, ours {count / b:,.0f} images/s"
    return "batching alone, crop 4 + flip", speeds, f"{ratio * count / len(arrays):.1f}×", "≥ 40×"


def flops_share(batch: int, pairs: int, bar: str) -> Row:
    """Training FLOP/s of ResNet-18 on the CPU relative to a large matrix product's."""
    ours = Ours("resnet18", random_images(batch, 1), batch, CPU)
    size, repeats = 2048, 4
    precision = precision_of(CPU)
    a, b = torch.randn(2, size, size).to(getattr(torch, precision))

    def product() -> None:
        for _ in range(repeats):
            a @ b

    t, g, ratio = paired(ours.training, product, pairs, clock_of(CPU))
    work, gemm = batch * RESNET18_FLOP, 2 * size**3 * repeats
    measured = f"{work / t / 1e9:,.0f} of {gemm / g / 1e9:,.0f} GFLOP/s"
    return f"ResNet-18 training ÷ GEMM, cpu, {precision}", measured, f"{work / gemm / ratio:.0%}", bar


def compiling(where: torch.device, model: str, batch: int, steps: int, mode: str, pairs: int) -> Row:
    """Gain of `execution.compile`, and the steps after which it pays in each run but the first."""
    data = random_images(batch * steps, 1)
    eager = Ours(model, data, batch, where)
    costs = []
    for _ in range(
        2
    ):  # the second finds the kernels of the first on disk, as the second run of a campaign does
        torch.compiler.reset()
        compiled = Ours(model, data, batch, where, mode)
        costs.append(timed(compiled.training, time.perf_counter))
    a, b, ratio = paired(eager.training, compiled.training, pairs, clock_of(where))
    gain = (a - b) / steps
    pays = f"pays after {math.ceil(costs[1] / gain):,} steps" if gain > 0 else "never pays"
    what = f"eager ÷ compile: {mode}, {model}, batch {batch}, {where.type}"
    speeds = f"{a / steps * 1e3:.2f} → {b / steps * 1e3:.2f} ms a step"
    return (
        what,
        f"{speeds}; first run {costs[0]:.0f} s, others {costs[1]:.1f} s: {pays}",
        f"{ratio:.2f}×",
        "–",
    )


def train_small(threads: int) -> None:
    """Child process of `side_by_side`: imports, warms up, and trains an epoch when told to."""
    torch.set_num_threads(threads)
    ours = Ours("small", random_images(5000, 1), 64, CPU)
    ours.epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    ours.epoch()


def side_by_side(pairs: int) -> Row:
    """Compare the wall time of two concurrent one-thread runs with one run of two threads."""

    def start(threads: int) -> subprocess.Popen[str]:
        code = f"from benchmarks.engine import train_small; train_small({threads})"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def wall(processes: list[subprocess.Popen[str]]) -> float:
        for p in processes:
            assert p.stdout
            p.stdout.readline()
        begin = time.perf_counter()
        for p in processes:
            assert p.stdin
            p.stdin.write("\n")
            p.stdin.flush()
        codes = [p.wait() for p in processes]
        assert not any(codes), codes
        return time.perf_counter() - begin

    times = [(wall([start(2)]), wall([start(1), start(1)])) for _ in range(pairs)]
    one, two = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(2 * a / b for a, b in times)
    measured = f"{5000 / one:,.0f} → {10000 / two:,.0f} images/s wall"
    return "two one-thread runs ÷ one two-thread run, small", measured, f"{ratio:.2f}×", "≥ 1.3×"


def deterministic_price(where: torch.device, batch: int, steps: int, pairs: int) -> Row:
    """Cost of `execution.deterministic`. Its settings apply to the whole process, so they are switched."""
    ours = Ours("resnet18", random_images(batch * steps, 1), batch, where)

    def training(deterministic: bool) -> Callable[[], None]:
        def work() -> None:
            set_up_cuda(deterministic)
            ours.training()

        return work

    a, b, ratio = paired(training(True), training(False), pairs, clock_of(where))
    measured = f"{b / steps * 1e3:.2f} → {a / steps * 1e3:.2f} ms a step"
    return f"price of execution.deterministic, resnet18, batch {batch}", measured, f"{ratio:.2f}×", "–"


def gpu(where: torch.device, batch: int, steps: int, pairs: int) -> list[Row]:
    """Measurements on a GPU: torch.compile's modes, determinism."""
    set_up_cuda(deterministic=True)  # cuBLAS reads its setting on first use
    set_up_cuda(deterministic=False)
    rows = [
        compiling(where, model, batch, steps, mode, pairs)
        for model in ("small", "resnet18")
        for mode in ("default", "reduce-overhead")
    ]
    return [*rows, deterministic_price(where, batch, steps, pairs)]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUT)
    output: Path = parser.parse_args().output
    torch.set_num_threads(1)
    head = ["# The engine, measured", "", NOTES, "", machine(), ""]
    lines = [*head, "| what | measured | ratio | bar |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    no_gpu: Row = ("compile, determinism on a GPU", "no CUDA device", "–", "–")
    parts: list[Callable[[], list[Row]]] = [
        lambda: [batching(5)],
        lambda: [epochs("small", (5000, 1000), 64, 3, "≥ 4.5×")],
        lambda: [flops_share(64, 3, "≥ 90 %")],
        lambda: [epochs("resnet18", (256, 64), 64, 2, "≥ 2.5×")],
        lambda: [side_by_side(3)],
        lambda: [compiling(CPU, "small", 64, 20, "default", 5)],
        lambda: gpu(torch.device("cuda"), 128, 390, 5) if torch.cuda.is_available() else [no_gpu],
    ]
    for part in parts:
        for row in part():
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
            output.write_text("\n".join(lines) + "\n")  # keeps the rows so far if the rest is stopped


if __name__ == "__main__":
    main()
