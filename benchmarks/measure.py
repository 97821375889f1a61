"""Helpers of the benchmarks: clocks, paired ratios, a run of CIFAR's shape, and the name of the machine."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.prepared import PreparedData
from sign_ablate.jobs import device
from sign_ablate.train.loop import Trainer

CPU = torch.device("cpu")
SGD = {"lr": 0.05, "momentum": 0.9}
DECAY = 5e-4
#: name of a method in tables → its configuration
METHODS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", **SGD, "weight_decay": DECAY},
    "SignSGD-M, dither": {"optimizer": "dithered", "site": "pre", "alpha": 0.1, "lr": 1e-4},
    "hybrid": {"optimizer": "hybrid", "lr": 1e-4, "t_switch": 500},
}
#: table row: what is compared, measurements, ratio, required ratio
Row = tuple[str, str, str, str]
Clock = Callable[[], float]


def precision_of(where: torch.device) -> str:
    """Return "bfloat16" if the hardware has it, else "float32"."""
    return "bfloat16" if where.type == "cuda" or device.cpu_has_bfloat16() else "float32"


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def clock_of(where: torch.device) -> Clock:
    """Return the clock for a device: wall time for a GPU, CPU time of this process for a shared CPU."""
    return time.perf_counter if where.type == "cuda" else time.process_time


def wait_for(where: torch.device) -> None:
    """Wait until a GPU has finished all kernels; does nothing for a CPU."""
    if where.type == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], clock: Clock) -> float:
    """Seconds that `work` takes."""
    start = clock()
    work()
    return clock() - start


def paired(
    first: Callable[[], object], second: Callable[[], object], pairs: int, clock: Clock
) -> tuple[float, float, float]:
    """Median seconds of both, and median over pairs of first ÷ second, after one warm-up round."""
    first(), second()
    times = [(timed(first, clock), timed(second, clock)) for _ in range(pairs)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    return a, b, statistics.median(x / y for x, y in times)


def random_images(train: int, test: int) -> PreparedData:
    """Random images of CIFAR's shape. Speed does not depend on the content of images."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (train + test, 32, 32, 3), generator=g, dtype=torch.uint8)
    labels = torch.arange(train + test) % 10
    none, mean, std = images[:0], torch.full((3,), 0.47), torch.full((3,), 0.25)
    classes = tuple(map(str, range(10)))
    return PreparedData(
        images[:train], labels[:train], none, labels[:0], images[train:], labels[train:], mean, std, classes
    )


def run_config(model: str, batch: int, precision: str, method: str = "SGD") -> RunConfig:
    """Configuration of a method of METHODS with crop 4 and flip, for more epochs than are measured."""
    train = {"model": model, "epochs": 1000, "batch_size": batch, "precision": precision}
    config = {
        "campaign": "bench",
        "seeds": [0],
        "datasets": {"noise": {"source": "synthetic"}},
        "train": {**train, "crop_padding": 4, "flip": True},
        "methods": {"measured": METHODS[method]},
    }
    return expand(parse_campaign(config))[0].config


class Ours:
    """Trainer in the best precision of its device, run one epoch at a time."""

    def __init__(
        self,
        model: str,
        data: PreparedData,
        batch: int,
        where: torch.device,
        compile_mode: str = "none",
        method: str = "SGD",
    ) -> None:
        self.where = where
        config = run_config(model, batch, precision_of(where), method)
        self.trainer = Trainer(config, data, where, compile_mode)

    def training(self) -> None:
        """Run the training steps of an epoch."""
        self.trainer.train_epoch()
        self.trainer._restart_epoch()
        wait_for(self.where)

    def epoch(self) -> None:
        """Run the training steps and the evaluation of an epoch."""
        self.trainer.train_epoch()
        self.trainer._finish_epoch(torch.stack(self.trainer.sums).cpu().double())


def machine() -> str:
    """Description of the software and hardware that the numbers belong to."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    names = [line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line]
    known = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in cpuinfo]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Python {platform.python_version()}; "
        f"{os.cpu_count()} × {names[0]} ({(known or ['?'])[0]}), load {os.getloadavg()[0]:.1f}; {gpu}"
    )
