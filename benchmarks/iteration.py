"""Cost of tracking λ within a training iteration of ResNet-18, for `benchmarks.optim`."""

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from sign_ablate import models
from sign_ablate.claims.statistics import effect
from sign_ablate.optim import HybridSignSGD, SignSGD

Step = Callable[[], object]
BATCH = 128
TRACKED = "hybrid, sign phase (λ tracked)"
OPTIMIZERS = {"SignSGD-M": SignSGD, TRACKED: HybridSignSGD}


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of the forward and backward pass, and of the step of each optimizer after it, by rounds."""

    passes: list[float]
    steps: dict[str, list[float]]

    def ratios(self, name: str) -> list[float]:
        """Time of pass and step to that with the first optimizer, of each round."""
        reference = next(iter(self.steps.values()))
        return [(p + t) / (p + r) for p, t, r in zip(self.passes, self.steps[name], reference, strict=True)]


def measure(device: str, rounds: int, seconds: Callable[[Step], float]) -> Times:
    """Time whole iterations.

    Each round makes one forward and backward pass, and then a step of each optimizer with its gradients, in
    alternating order. An iteration is that pass and one of the steps. The optimizers share the pass, because
    the times of two passes differ by more than the steps.

    Args:
        device: cpu or cuda.
        rounds: number of forward and backward passes that are timed.
        seconds: times one call.
    """
    network = models.build("resnet18", 3, 10, seed=0).to(device).to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.arange(BATCH, device=device) % 10
    steps = {name: make(network.parameters(), lr=1e-9).step for name, make in OPTIMIZERS.items()}

    def gradients() -> None:
        network.zero_grad()
        cross_entropy(network(x), y).backward()

    passes: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        passes.append(seconds(gradients))
        order = list(steps) if number % 2 else list(steps)[::-1]
        for name in order:
            times[name].append(seconds(steps[name]))
    return Times(passes[1:], {name: found[1:] for name, found in times.items()})  # the first warms up


def measurement(times: Times, how: str) -> dict[str, Any]:
    """Row of measurements.parquet: the share of an iteration by which tracking λ lengthens it.

    Args:
        times: seconds of the rounds.
        how: command, machine and date.
    """
    found = effect([ratio - 1 for ratio in times.ratios(TRACKED)])
    ends = {"value": found.mean, "low": found.low, "high": found.high, "n": found.n}
    return {"quantity": "lambda-cost", **ends, "how": how}


def table(times: Times) -> list[str]:
    """Lines of the section."""
    rounds, seconds = len(times.passes), statistics.median(times.passes)
    return [
        f"## Within an iteration of ResNet-18, batch {BATCH}",
        "",
        f"Forward and backward pass, {rounds} rounds: {seconds:.3g} s. Then a "
        "step of each optimizer with the gradients of that pass. Ratio: time of pass and step to that with "
        "SignSGD-M.",
        "",
        "| step | ms | share of the iteration | ratio | quartiles |",
        "|---|---|---|---|---|",
        *_rows(times),
    ]


def _rows(times: Times) -> list[str]:
    rows = []
    for name, found in times.steps.items():
        ratios = sorted(times.ratios(name))
        share = statistics.median(t / (p + t) for p, t in zip(times.passes, found, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        milliseconds, ratio = statistics.median(found) * 1e3, statistics.median(ratios)
        rows.append(f"| {name} | {milliseconds:.2f} | {share:.2%} | {ratio:.5f} | {low:.5f}–{high:.5f} |")
    return rows
