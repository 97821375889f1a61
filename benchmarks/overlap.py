"""Overlap of hooks with the backward pass: `python -m benchmarks.overlap` writes docs/bench-overlap.md."""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.collectives import FLOAT32, RULES, seconds
from benchmarks.measure import machine
from sign_ablate.distributed import register

OUT = Path(__file__).parents[1] / "docs" / "bench-overlap.md"
WORKERS, ROUNDS, WARM_UP = 2, 9, 3
LAYERS, SIZE = 8, 1_400_000
HOOKS = (FLOAT32, *list(RULES)[:6])
NOTES = """\
`python -m benchmarks.overlap` writes this page: DDP on {workers} gloo ranks of one machine, one thread each,
with {layers} layers of {size:,} parameters, one per bucket. The backward pass of a layer is a wait, as of a
host for its device, that is as long as a bucket's exchange without it. *Hidden* is the share of the exchange
that the wait covers: 1 − (backward pass with exchange − without) ÷ exchange alone. The exchange of the last
bucket comes after the last layer, so at most {most:.0%} can be hidden. Medians of {rounds} rounds on the
slowest rank."""


class Wait(torch.autograd.Function):
    """Identity whose backward pass waits, and leaves the processor to the exchange."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: list[float]) -> Tensor:
        ctx.seconds = seconds
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        time.sleep(ctx.seconds[0])
        return gradients[0], None


class Layers(nn.Module):
    """Layers with random gradients, which become ready one after the other."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.ParameterList(torch.zeros(SIZE) for _ in range(LAYERS))
        self.gradients = [torch.randn(SIZE, generator=generator) for _ in range(LAYERS)]
        #: seconds of a layer's backward pass
        self.seconds = [0.0]

    def forward(self) -> Tensor:
        """Scalar whose gradient at each layer is random."""
        x = torch.zeros(())
        for p, g in zip(self.layers, self.gradients, strict=True):
            x = Wait.apply(x + (p * g).sum(), self.seconds)  # type: ignore[no-untyped-call]
        return x


def median(model: DistributedDataParallel, wait: float, *, silent: bool) -> float:
    """Median seconds of a backward pass whose layers wait, with an exchange or without it."""
    model.module.seconds[0] = wait  # type: ignore[index, operator]
    found = [seconds(model, silent=silent) for _ in range(WARM_UP + ROUNDS)]
    return statistics.median(found[WARM_UP:])


def rank(number: int, folder: str) -> None:
    """Measure all hooks as one rank; rank 0 writes (exchange alone, without exchange, with it) of each."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=WORKERS)
    found = {}
    for name in HOOKS:
        model = DistributedDataParallel(Layers(), bucket_cap_mb=SIZE * 4 / 2**20)
        if name in RULES:
            register(model, RULES[name])
        exchange = median(model, 0.0, silent=False) - median(model, 0.0, silent=True)
        wait = exchange / LAYERS
        found[name] = (exchange, median(model, wait, silent=True), median(model, wait, silent=False))
    if number == 0:
        Path(folder, "seconds").write_text(json.dumps(found))
    dist.destroy_process_group()


def main() -> None:
    """Measure, print, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank, (folder,), nprocs=WORKERS)
        found = json.loads(Path(folder, "seconds").read_text())
    notes = NOTES.format(workers=WORKERS, layers=LAYERS, size=SIZE, rounds=ROUNDS, most=1 - 1 / LAYERS)
    lines = ["# Overlap of the exchange with the backward pass", "", notes, "", machine(), ""]
    lines += [
        "| hook | exchange alone, ms | backward pass without, ms | with, ms | hidden |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (exchange, without, both) in found.items():
        times = " | ".join(f"{1000 * value:.1f}" for value in (exchange, without, both))
        lines.append(f"| {name} | {times} | {1 - (both - without) / exchange:.0%} |")
    OUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
