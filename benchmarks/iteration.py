"""Cost of tracking λ within a training iteration of ResNet-18, for `benchmarks.optim`."""

import statistics
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from sign_ablate import models
from sign_ablate.optim import HybridSignSGD, SignSGD

Step = Callable[[], object]
BATCH = 128
OPTIMIZERS = {
    "SignSGD-M": SignSGD,
    "hybrid, sign phase (λ tracked)": HybridSignSGD,
}


def table(device: str, rounds: int, seconds: Callable[[Step], float]) -> list[str]:
    """Lines of the section.

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
    passes, times = passes[1:], {name: found[1:] for name, found in times.items()}  # the first warms up
    return [
        f"## Within an iteration of ResNet-18, batch {BATCH}",
        "",
        f"Forward and backward pass, {rounds} rounds: {statistics.median(passes):.3g} s. Then a step "
        "of each optimizer with the gradients of that pass. Ratio: time of pass and step to that with "
        "SignSGD-M.",
        "",
        "| step | ms | share of the iteration | ratio | quartiles |",
        "|---|---|---|---|---|",
        *_rows(passes, times),
    ]


def _rows(passes: list[float], times: dict[str, list[float]]) -> list[str]:
    reference = next(iter(times.values()))
    rows = []
    for name, found in times.items():
        ratios = sorted((p + t) / (p + r) for p, t, r in zip(passes, found, reference, strict=True))
        share = statistics.median(t / (p + t) for p, t in zip(passes, found, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        milliseconds, ratio = statistics.median(found) * 1e3, statistics.median(ratios)
        rows.append(f"| {name} | {milliseconds:.2f} | {share:.2%} | {ratio:.5f} | {low:.5f}–{high:.5f} |")
    return rows
