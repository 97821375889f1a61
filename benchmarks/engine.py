"""`python -m benchmarks.engine`: the training engine against what people use; writes docs/bench-engine.md.

Ratios are medians of interleaved pairs in one run: process CPU time of one thread, workers included,
where machines are shared; wall time only where scheduling is the question.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; DataLoader's workers inherit it

import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from PIL import Image

from benchmarks import usual
from sign_ablate import models
from sign_ablate.config import parse_campaign
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.batches import Loader
from sign_ablate.data.prepared import PreparedData
from sign_ablate.grid import expand
from sign_ablate.train.loop import Trainer

OUT = Path(__file__).parents[1] / "docs" / "bench-engine.md"
SGD = {"lr": 0.05, "momentum": 0.9}
DECAY = 5e-4
#: of one training image of ResNet-18 with the CIFAR stem at 32×32: three times the forward pass
RESNET18_FLOP = 3.33e9
CPU = torch.device("cpu")
Row = tuple[str, str, str, str]  # what, measured, ratio, bar


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def timed(work: Callable[[], object], clock: Callable[[], float] = cpu_seconds) -> float:
    """Seconds that `work` takes."""
    start = clock()
    work()
    return clock() - start


def paired(
    first: Callable[[], object], second: Callable[[], object], pairs: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Median seconds of both, and the median over pairs of first ÷ second; one round to warm up."""
    first(), second()
    times = [(timed(first, clock), timed(second, clock)) for _ in range(pairs)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    return a, b, statistics.median(x / y for x, y in times)


def random_images(train: int, test: int) -> PreparedData:
    """CIFAR-shaped noise: speed does not depend on what is seen."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (train + test, 32, 32, 3), generator=g, dtype=torch.uint8)
    labels = torch.arange(train + test) % 10
    none, mean, std = images[:0], torch.full((3,), 0.47), torch.full((3,), 0.25)
    classes = tuple(map(str, range(10)))
    return PreparedData(
        images[:train], labels[:train], none, labels[:0], images[train:], labels[train:], mean, std, classes
    )


def run_config(model: str, batch: int, precision: str) -> RunConfig:
    """SGD with crop 4 and flip, for longer than is measured."""
    train = {"model": model, "epochs": 1000, "batch_size": batch, "precision": precision}
    config = {
        "campaign": "bench",
        "seeds": [0],
        "datasets": {"noise": {"source": "synthetic"}},
        "train": {**train, "crop_padding": 4, "flip": True},
        "methods": {"sgd": {"optimizer": "sgd", **SGD, "weight_decay": DECAY}},
    }
    return expand(parse_campaign(config))[0].config


class Ours:
    """A Trainer, an epoch at a time."""

    def __init__(self, model: str, data: PreparedData, batch: int, precision: str, device: torch.device):
        self.trainer = Trainer(run_config(model, batch, precision), data, device)

    def epoch(self) -> None:
        self.trainer.train_epoch()
        self.trainer._finish_epoch(torch.stack(self.trainer.sums).cpu().double())


def epochs(model: str, images: tuple[int, int], batch: int, pairs: int, bar: str) -> Row:
    """Whole epochs, test included, against the usual script."""
    data = random_images(*images)
    network = models.build(model, 3, 10, seed=0)
    script = usual.Script(network, data, batch=batch, decay=DECAY, **SGD)
    ours = Ours(model, data, batch, "bfloat16", CPU)
    a, b, ratio = paired(script.epoch, ours.epoch, pairs, cpu_seconds)
    what = f"whole epoch, {model}, batch {batch}, {images[0]:,} + {images[1]:,} images"
    return what, f"usual {a:.2f} s, ours {b:.2f} s CPU", f"{ratio:.2f}×", bar


def batching(pairs: int) -> Row:
    """Crop, flip and normalisation alone."""
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


def flops_share(device: torch.device, batch: int, steps: int, pairs: int, bar: str) -> tuple[Row, float]:
    """Training FLOP/s of ResNet-18 over those of a large bfloat16 product; and images per second."""
    images = random_images(batch * steps, 1)
    trainer = Trainer(run_config("resnet18", batch, "bfloat16"), images, device)
    size, repeats = (8192, 20) if device.type == "cuda" else (2048, 4)
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def train() -> None:
        trainer.train_epoch()
        wait()

    def product() -> None:
        for _ in range(repeats):
            a @ b
        wait()

    clock = time.perf_counter if device.type == "cuda" else time.process_time
    t, g, ratio = paired(train, product, pairs, clock)
    work, gemm = batch * steps * RESNET18_FLOP, 2 * size**3 * repeats
    share = ratio**-1 * work / gemm
    measured = f"{work / t / 1e9:,.0f} of {gemm / g / 1e9:,.0f} GFLOP/s"
    return (
        f"ResNet-18 training ÷ bf16 GEMM, {device.type}",
        measured,
        f"{share:.0%}",
        bar,
    ), batch * steps / t


def train_small(threads: int) -> None:
    """What `side_by_side` starts: prints its wall seconds of training, imports and warm-up left out."""
    torch.set_num_threads(threads)
    ours = Ours("small", random_images(5000, 1), 64, "bfloat16", CPU)
    ours.epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    ours.epoch()


def side_by_side(pairs: int) -> Row:
    """Wall time of two one-thread runs at once, against one run with two threads."""

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


def gpu() -> list[Row]:
    """Table I on this GPU."""
    if not torch.cuda.is_available():
        return [("training ÷ GEMM and Table I on a GPU", "skipped: no CUDA device", "–", "≥ 32 %")]
    row, speed = flops_share(torch.device("cuda"), 128, 400, 5, "≥ 32 %")
    # 50,000 training images, and 10,000 forward passes at a third of their cost each
    hours = 7 * 2 * 5 * 100 * (50_000 + 10_000 / 3) / speed / 3600
    return [row, ("Table I: 7 × 2 × 5 runs of 100 epochs", f"{speed:,.0f} images/s", f"{hours:.1f} h", "–")]


def machine() -> str:
    """What the numbers belong to."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    flags = "AMX" if "amx_bf16" in Path("/proc/cpuinfo").read_text() else "no AMX"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Python {platform.python_version()}; "
        f"{os.cpu_count()} × {names[0]} ({flags}), load {os.getloadavg()[0]:.1f}; {device}"
    )


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    notes = (
        "Medians of interleaved pairs in one run, one thread, CPU time of all processes (wall time side by "
        "side and on a GPU). The usual script is `benchmarks/usual.py`; the start of its workers is included."
    )
    head = ["# The engine, measured", "", notes, "", machine(), ""]
    lines = [*head, "| what | measured | ratio | bar |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    parts: list[Callable[[], list[Row]]] = [
        lambda: [batching(5)],
        lambda: [epochs("small", (2000, 400), 64, 3, "≥ 4.5×")],
        lambda: [flops_share(CPU, 64, 1, 3, "≥ 90 %")[0]],
        lambda: [epochs("resnet18", (192, 64), 64, 2, "≥ 2.5×")],
        lambda: [side_by_side(3)],
        gpu,
    ]
    for part in parts:
        for row in part():
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
            OUT.write_text("\n".join(lines) + "\n")  # what is measured stays if the rest is stopped


if __name__ == "__main__":
    main()
