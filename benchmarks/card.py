"""Training speed of one GPU by execution mode and number of runs, as a Markdown table.

    python -m benchmarks.card [--output docs/bench-card.md] [--runs 1 2 4]

ResNet-18 in bfloat16, batch 128, crop and flip. Eager, compiled and as CUDA graphs (`execution.compile`),
with 1, 2 and 4 runs of SGD at a time (`execution.runs_per_gpu`), each in a process of its own, and with one
run of the paper's methods: images per second of all runs together, the share of a bfloat16 matrix product's
FLOP/s, and the hours of the paper's Table I.
"""

import argparse
import dataclasses
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.measure import METHODS, Clock, Ours, machine, precision_of, random_images, timed, wait_for

#: FLOP of one training image, ResNet-18 with the CIFAR stem at 32×32: three times the forward pass
RESNET18_FLOP = 3.33e9
#: images of Table I, in forward and backward passes: 7 methods, 2 data sets, 5 seeds, 100 epochs of 50,000
#: training images and 10,000 test images, whose forward pass costs a third
TABLE_1 = 7 * 2 * 5 * 100 * (50_000 + 10_000 / 3)
#: execution.compile → name in the table
MODES = {"none": "eager", "default": "compiled", "reduce-overhead": "CUDA graphs"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """Execution settings of a measurement, and its device."""

    mode: str  #: execution.compile
    runs: int  #: execution.runs_per_gpu
    model: str = "resnet18"
    batch: int = 128
    steps: int = 390
    device: str = "cuda"
    method: str = "SGD"  #: of benchmarks.measure.METHODS

    @property
    def images(self) -> int:
        """Images that are trained on in a measurement."""
        return self.runs * self.batch * self.steps


class Run(Protocol):
    """A run in a process of its own."""

    def wait_until(self, state: str) -> None:
        """Wait until the run is `ready`, or has `done` its steps."""

    def go(self) -> None:
        """Let it train."""

    def close(self) -> None:
        """End its process."""


class Process:
    """A Python process that warms up, says so, and trains when it is told to."""

    def __init__(self, setting: Setting) -> None:
        code = f"from benchmarks.card import Setting, child; child({setting!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until(self, state: str) -> None:
        """Wait for the state.

        Raises:
            RuntimeError: if the process ends before.
        """
        assert self._process.stdout is not None
        for printed in self._process.stdout:
            if printed.strip() == state:
                return
        raise RuntimeError(f"a run ended before it was {state}, with code {self._process.wait()}")

    def go(self) -> None:
        """Let it train."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill the process, if it has not ended."""
        self._process.kill()
        self._process.wait()


def child(setting: Setting) -> None:
    """The process of a run."""
    where = torch.device(setting.device)
    data = random_images(setting.batch * setting.steps, 1)
    ours = Ours(setting.model, data, setting.batch, where, setting.mode, setting.method)
    ours.training()  # compiles
    ours.training()
    print("ready", flush=True)
    sys.stdin.readline()
    ours.training()
    print("done", flush=True)


def images_per_second(
    setting: Setting, start: Callable[[Setting], Run] = Process, clock: Clock = time.perf_counter
) -> float:
    """Images that all runs of a setting train on in a second of wall time.

    Raises:
        RuntimeError: if a run fails, for want of memory for one.
    """
    runs = [start(setting) for _ in range(setting.runs)]
    try:
        for run in runs:
            run.wait_until("ready")
        begin = clock()
        for run in runs:
            run.go()
        for run in runs:
            run.wait_until("done")
        return setting.images / (clock() - begin)
    finally:
        for run in runs:
            run.close()


def product_flops(where: torch.device, clock: Clock = time.perf_counter) -> float:
    """FLOP/s of a large matrix product in the precision of training: the median of five."""
    size, repeats = (8192, 20) if where.type == "cuda" else (512, 2)
    a, b = torch.randn(2, size, size, device=where).to(getattr(torch, precision_of(where)))

    def product() -> None:
        for _ in range(repeats):
            a @ b
        wait_for(where)

    product()
    return 2 * size**3 * repeats / statistics.median(timed(product, clock) for _ in range(5))


def line(setting: Setting, speed: float, product: float) -> str:
    """A row of the table.

    Args:
        setting: what was measured.
        speed: images per second.
        product: FLOP/s of a matrix product.
    """
    share, hours = speed * RESNET18_FLOP / product, TABLE_1 / speed / 3600
    return f"{_named(setting)} {speed:,.0f} | {share:.0%} | {hours:.1f} |"


def _named(setting: Setting) -> str:
    return f"| {setting.method} | {MODES[setting.mode]} | {setting.runs} |"


def table(
    settings: list[Setting], product: float, measure: Callable[[Setting], float] = images_per_second
) -> Iterator[str]:
    """The lines of the table, each as soon as it is measured. A setting that fails is a line too."""
    yield "| method | execution | runs at a time | images/s of all | of a matrix product | hours of Table I |"
    yield "|---|---|---|---|---|---|"
    for setting in settings:
        try:
            yield line(setting, measure(setting), product)
        except RuntimeError as error:
            yield f"{_named(setting)} {error} | – | – |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    output: Path | None = options.output
    settings = [Setting(mode, runs) for mode, runs in itertools.product(MODES, options.runs)]
    others = [method for method in METHODS if method != "SGD"]
    settings += [Setting(mode, 1, method=method) for method, mode in itertools.product(others, MODES)]
    product = product_flops(torch.device("cuda"))
    lines = ["# What one GPU trains", "", machine(), f"A matrix product: {product / 1e12:,.1f} TFLOP/s.", ""]
    print("\n".join(lines))
    for row in table(settings, product):
        print(row, flush=True)
        lines.append(row)
        if output:  # after each row: what is measured is kept
            output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
