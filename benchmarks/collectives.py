"""Wall time of the communication hooks: `python -m benchmarks.collectives` writes docs/bench-collectives.md.

`python -m benchmarks.collectives ROUNDS` prints the page for another number of rounds instead.
"""

import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook, fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import machine
from sign_ablate.distributed import (
    Compressed,
    MajorityVote,
    Mean,
    Rule,
    TwoSidedSign,
    all_reduce_bytes,
    bytes_per_step,
    register,
)
from sign_ablate.models import build
from sign_ablate.optim import QSGD, ScaledSign, TernGrad, TopK

#: seconds of a hook, and of the float32 all-reduce after it
Pair = tuple[float, float]
RANKS, ROUNDS, WARM_UP = (2, 4), 5, 3
MODEL, BUCKET_MIB = "resnet18", 100
OUT = Path(__file__).parents[1] / "docs" / "bench-collectives.md"
FLOAT32 = "float32 all-reduce"
RULES: dict[str, Rule] = {
    "`Mean()`": Mean(),
    "`MajorityVote()`": MajorityVote(),
    "`MajorityVote(two_phase=True, tie='random')`": MajorityVote(two_phase=True, tie="random"),
    "`Compressed(ScaledSign(), error_feedback=True)`": Compressed(ScaledSign(), error_feedback=True),
    "`TwoSidedSign()`": TwoSidedSign(),
    "`Compressed(QSGD())`": Compressed(QSGD()),
    "`Compressed(TernGrad())`": Compressed(TernGrad()),
    "`Compressed(TopK(), error_feedback=True)`": Compressed(TopK(), error_feedback=True),
}
TORCH = (FLOAT32, "bf16 hook of torch", "fp16 hook of torch", "PowerSGD hook of torch, rank 1")
ALONE = "backward pass without communication"
NOTES = """\
`python -m benchmarks.collectives` writes this page: seconds of a backward pass with DDP and gloo, of which
the exchange of {d:,} gradients (ResNet-18) in one bucket is nearly all. The ranks are processes of one
machine, one thread each. The time is that of the slowest rank; rounds: {rounds}, of which the table has the
medians, after {warm_up} to warm up. Each round measures the hook and then the float32 all-reduce.
The first row compares float32 with itself: its distance from 1 is noise.

Here a message between ranks costs a copy in memory, so this is mostly the time of packing: it says what a
hook costs, and not what it saves. *Wins below* is computed and not measured: the speed of a rank's link, in
Mbit/s, below which the bytes saved take longer to send than the time the hook costs more, if all else stays
as it is here. W = 4 has more processes than cores on a machine with 2."""


class Gradients(nn.Module):
    """The parameters of a network, and gradients that are random and take no time."""

    def __init__(self) -> None:
        super().__init__()
        network = build(MODEL, 3, 10, seed=0)
        generator = torch.Generator().manual_seed(0)
        self.parameters_of_network = nn.ParameterList(network.parameters())
        self.gradients = [torch.randn(p.shape, generator=generator) for p in network.parameters()]

    def forward(self) -> Tensor:
        """Scalar whose gradient at each parameter is random."""
        pairs = zip(self.parameters_of_network, self.gradients, strict=True)
        return torch.stack([(p * g).sum() for p, g in pairs]).sum()


def hooked(name: str) -> DistributedDataParallel:
    """DDP model with a hook, by the name of its row."""
    # One bucket: torch's PowerSGD begins collectives in callbacks, whose order on gloo may differ by rank
    # if there are several.
    model = DistributedDataParallel(Gradients(), bucket_cap_mb=BUCKET_MIB)
    if name in RULES:
        register(model, RULES[name])
    elif name == TORCH[1]:
        model.register_comm_hook(None, bf16_compress_hook)
    elif name == TORCH[2]:
        model.register_comm_hook(None, fp16_compress_hook)
    elif name == TORCH[3]:
        model.register_comm_hook(PowerSGDState(None, start_powerSGD_iter=2), powerSGD_hook)
    return model


def rank(number: int, workers: int, rounds: int, folder: str) -> None:
    """Measure all hooks as one rank; rank 0 writes the seconds of the hook and of float32 in each round."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=workers)
    reference, found = hooked(FLOAT32), dict[str, list[Pair]]()
    for name in (FLOAT32, ALONE, *TORCH[1:], *RULES):
        model = reference if name in {FLOAT32, ALONE} else hooked(name)
        pairs = [(seconds(model, silent=name == ALONE), seconds(reference)) for _ in range(WARM_UP + rounds)]
        found[name] = pairs[WARM_UP:]
        del model  # a model and its states take much memory
    if number == 0:
        Path(folder, "seconds").write_text(json.dumps(found))
    dist.destroy_process_group()


def seconds(model: DistributedDataParallel, *, silent: bool = False) -> float:
    """Seconds of a backward pass on the slowest rank, with communication or without."""
    model.zero_grad()
    with model.no_sync() if silent else contextlib.nullcontext():
        loss = model()
        dist.barrier()
        start = time.perf_counter()
        loss.backward()
    slowest = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


def measured(workers: int, rounds: int) -> dict[str, list[Pair]]:
    """Seconds of each hook and of float32 in each round on so many ranks."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank, (workers, rounds, folder), nprocs=workers)
        found: dict[str, list[Pair]] = json.loads(Path(folder, "seconds").read_text())
    return found


def sent(name: str, shapes: list[tuple[int, ...]], workers: int) -> float | None:
    """Bytes that each rank sends per step; None if there is no formula."""
    if name in RULES:
        return bytes_per_step(RULES[name], shapes, workers)
    reduced = all_reduce_bytes(shapes, workers)
    return {ALONE: 0.0, FLOAT32: reduced, TORCH[1]: reduced / 2, TORCH[2]: reduced / 2}.get(name)


def table(workers: int, found: dict[str, list[Pair]], shapes: list[tuple[int, ...]]) -> list[str]:
    """Lines of the table for a number of ranks."""
    lines = [
        "", f"## W = {workers}", "", "| hook | s | ÷ float32 | MB sent per rank | wins below, Mbit/s |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    reference = sent(FLOAT32, shapes, workers)
    assert reference is not None
    for name, pairs in found.items():
        amount, wins = sent(name, shapes, workers), "–"
        slower = statistics.median(own - float32 for own, float32 in pairs)
        if amount is not None and name not in {FLOAT32, ALONE} and amount < reference:
            wins = "any speed" if slower <= 0 else f"{8e-6 * (reference - amount) / slower:,.0f}"
        ratio, own = statistics.median(a / b for a, b in pairs), statistics.median(a for a, _ in pairs)
        megabytes = "–" if amount is None else f"{amount / 1e6:.2f}"
        lines.append(f"| {name} | {own:.3f} | {ratio:.2f} | {megabytes} | {wins} |")
    return lines


def main() -> None:
    """Measure, and write or print the page."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    shapes = [tuple(p.shape) for p in build(MODEL, 3, 10, seed=0).parameters()]
    d = sum(torch.Size(shape).numel() for shape in shapes)
    lines = ["# Time of the communication hooks", "", NOTES.format(d=d, rounds=rounds, warm_up=WARM_UP)]
    lines += ["", machine()]
    for workers in RANKS:
        lines += table(workers, measured(workers, rounds), shapes)
    page = "\n".join(lines) + "\n"
    if len(sys.argv) > 1:
        print(page, end="")
    else:
        OUT.write_text(page)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
