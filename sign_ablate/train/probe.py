"""Probes of a run: the noise of minibatch gradients at the parameters of one step, and that step.

A probe changes no number of the run: it draws batches of its own, and leaves gradients and buffers unchanged.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sign_ablate.jobs.run_lock import JobError
from sign_ablate.optim.signsgd import SignSGD
from sign_ablate.train.buffers import same_buffers

if TYPE_CHECKING:
    from sign_ablate.train.loop import Trainer

Row = dict[str, Any]

#: minibatches whose gradients are compared, or as many full ones as the training images give
BATCHES = 64
#: signal-to-noise ratio at which the two branches of Gauss's inequality, and of the paper's bound (6), meet
LOW_SNR = 2 / math.sqrt(3)
_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
#: two-sided 5 % point of the normal distribution
_Z = 1.959964


class Moments:
    """Running mean and second and third central moment of each coordinate of a stream of gradients.

    Updated one gradient at a time, by the formulas of Pébay (SAND2008-6212) that extend Welford's.

    Args:
        like: tensors of the gradients' shapes, on their device.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        self.count = 0
        # float64: the cube of a small gradient underflows in float32
        self.mean, self.m2, self.m3 = (
            [torch.zeros_like(p, dtype=torch.float64, requires_grad=False) for p in like] for _ in range(3)
        )

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Add one gradient, given as one tensor per parameter."""
        self.count += 1
        n = self.count
        for mean, m2, m3, g in zip(self.mean, self.m2, self.m3, gradients, strict=True):
            delta = g.double() - mean
            share = delta / n
            square = delta.mul_(share).mul_(n - 1)
            m3.add_(square * share, alpha=n - 2).sub_(share * m2, alpha=3)
            m2.add_(square)
            mean.add_(share)

    def rows(self) -> list[Row]:
        """Signal-to-noise ratio |ḡ|/σ and skewness of the coordinates, as rows of probe.parquet."""
        n = self.count
        mean, m2, m3 = (torch.cat([x.flatten() for x in part]) for part in (self.mean, self.m2, self.m3))
        noisy = m2 > 0
        mean, m2, m3 = mean[noisy], m2[noisy], m3[noisy]
        snr = mean.abs() / (m2 / (n - 1)).sqrt()
        skewness = math.sqrt(n) * m3 / m2.pow(1.5)
        limit = _Z * math.sqrt(6 * (n - 2) / ((n + 1) * (n + 3))) if n > 2 else math.inf
        return [
            _scalar("batches", n),
            _distribution("snr", snr),
            _scalar("snr_low", _share(snr < LOW_SNR)),
            _distribution("skewness", skewness),
            _scalar("skewed", _share(skewness.abs() > limit)),
            _scalar("noiseless", 1 - noisy.double().mean()),
        ]


def steps(trainer: "Trainer") -> dict[int, int]:
    """Numbers of the steps to probe, from 0, with their epochs in `train.probe`.

    A step is the last of its epoch with a full batch, and the first of the run for epoch 0.

    Raises:
        JobError: if an epoch lies after the end of the run, or has the same step as another.
    """
    loader, found = trainer.loader, dict[int, int]()
    for epoch in trainer.run.train.probe:
        if epoch > trainer.epochs:
            raise JobError(
                f"train.probe = {list(trainer.run.train.probe)}: the run ends in epoch {trainer.epochs}; "
                f"remove {epoch}"
            )
        end = min(epoch * loader.steps_per_epoch, trainer.total_steps)
        last_is_small = len(loader) % loader.batch_size and end % loader.steps_per_epoch == 0
        step = max(0, end - 1 - bool(last_is_small and loader.steps_per_epoch > 1))
        if step in found:
            raise JobError(
                f"train.probe = {list(trainer.run.train.probe)}: epochs {found[step]} and {epoch} have the "
                f"same step, {step}; remove one"
            )
        found[step] = epoch
    return found


def around(trainer: "Trainer", step: Callable[[], None], before_batch: Callable[[], None]) -> list[Row]:
    """Make the trainer's coming step, and return the rows of probe.parquet for it.

    Only the seconds of the step count as the epoch's.

    Args:
        trainer: the trainer before the step, with its network in training mode.
        step: makes the step.
        before_batch: called before each minibatch of the probe, where the trainer's state is that before the
            step; may raise to stop the run.
    """
    start, place = time.perf_counter(), {"epoch": trainer.probes[trainer.step], "step": trainer.step}
    moments = noise(trainer, place["epoch"], before_batch)
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.seconds -= time.perf_counter() - start
    step()
    start = time.perf_counter()
    rows = moments.rows() + step_rows(trainer, before, moments.mean)
    trainer.seconds -= time.perf_counter() - start
    return [place | row for row in rows]


def noise(trainer: "Trainer", epoch: int, before_batch: Callable[[], None]) -> Moments:
    """Moments of minibatch gradients at the trainer's parameters, with its augmentation and precision.

    The minibatches are a function of the run's seed and of `epoch`, and not those of an epoch of training.
    """
    loader, parameters = trainer.loader, list(trainer.network.parameters())
    moments = Moments(parameters)
    count = min(BATCHES, max(1, len(loader) // loader.batch_size))
    # Epochs of training are numbered from 1, so numbers of 0 or less give other batches.
    for x, y in itertools.islice(loader.epoch(trainer.run.seed, -epoch), count):
        before_batch()
        with same_buffers(trainer.network):
            loss, _ = trainer.loss(x, y)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        moments.add(gradients)
    return moments


def step_rows(trainer: "Trainer", before: Sequence[Tensor], mean: Sequence[Tensor]) -> list[Row]:
    """Rows of probe.parquet on the step that the trainer has just made.

    Args:
        trainer: the trainer after the step, with the gradient of its minibatch.
        before: the parameters before the step.
        mean: mean gradient at them (`Moments.mean`).
    """
    parameters = list(trainer.network.parameters())
    step = [(old - p.detach()).double() for old, p in zip(before, parameters, strict=True)]
    g = [torch.zeros_like(p) if p.grad is None else p.grad.double() for p in parameters]
    energy = _dot(g, g)
    found = {name: float(value) for name, value in getattr(trainer.optimizer, "diagnostics", dict)().items()}
    rows = {
        "cos_gradient": _cosine(step, g),
        "cos_mean": _cosine(step, mean),
        "lambda": abs(_dot(step, g)) / energy if energy else None,
        "lambda_null": None,
        "momentum_over_sigma": None,
        "flip_fraction": found.get("flip_fraction"),
    }
    if isinstance(trainer.optimizer, SignSGD) and not found.get("phase") and energy:
        beta = trainer.optimizer.param_groups[0]["beta"]
        l1 = float(torch.stack([x.abs().sum() for x in g]).sum())
        # Correlation of g_i and m_i, where m is the average of trainer.step gradients, with weights βⁱ.
        # E sign(m_i)g_i is that times E|g_i| in Gaussian noise of any size.
        correlation = math.sqrt((1 - beta**2) / (1 - beta ** (2 * trainer.step)))
        rows["lambda_null"] = float(trainer.lr) * correlation * l1 / energy
    if found.get("sigma"):
        rows["momentum_over_sigma"] = found["momentum_rms"] / found["sigma"]
    return [_scalar(name, value) for name, value in rows.items()]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return float(torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum())


def _cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float | None:
    length = math.sqrt(_dot(a, a) * _dot(b, b))
    return _dot(a, b) / length if length else None


def _scalar(quantity: str, value: Any) -> Row:
    return {"quantity": quantity, "value": None if value is None else float(value)}


def _share(chosen: Tensor) -> float | None:
    return float(chosen.double().mean()) if len(chosen) else None


def _distribution(quantity: str, values: Tensor) -> Row:
    """Row with the mean and the quantiles of the values; nulls if there are none."""
    if not len(values):
        return _scalar(quantity, None)
    ordered = values.sort().values
    places = {name: round(q * (len(ordered) - 1)) for name, q in _QUANTILES.items()}
    return _scalar(quantity, values.mean()) | {name: float(ordered[i]) for name, i in places.items()}
