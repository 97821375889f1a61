"""Trains one run: epochs of steps, each epoch one row of metrics."""

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from sign_ablate import models
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.batches import Loader
from sign_ablate.data.prepare import PreparedData
from sign_ablate.optim import registry
from sign_ablate.train.schedule import lr_factor

Row = dict[str, Any]


@dataclasses.dataclass
class Result:
    """What a run measured. `diverged_at_step` is the first step k (from 0) that was not finite."""

    metrics: list[Row]
    timing: list[Row]
    diverged_at_step: int | None = None

    @property
    def status(self) -> str:
        """finished or diverged."""
        return "finished" if self.diverged_at_step is None else "diverged"


class Trainer:
    """A run in progress: network, optimizer, schedule and data on one device."""

    def __init__(self, run: RunConfig, data: PreparedData, device: torch.device) -> None:
        train = run.train
        self.run, self.device = run, device
        network = models.build(train.model, data.channels, len(data.classes), seed=run.seed)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.loader = Loader(
            data.train_images, data.train_labels, data.mean, data.std,
            batch_size=train.batch_size, crop_padding=train.crop_padding, flip=train.flip, device=device,
        )  # fmt: skip
        self.evaluations = {
            name: Loader(images, labels, data.mean, data.std, batch_size=1000, device=device)
            for name, images, labels in (
                ("val", data.val_images, data.val_labels),
                ("test", data.test_images, data.test_labels),
            )
            if len(labels)
        }
        per_epoch = self.loader.steps_per_epoch
        self.total_steps = train.steps if train.steps is not None else (train.epochs or 0) * per_epoch
        self.epochs = math.ceil(self.total_steps / per_epoch)
        options = run.method.model_dump(exclude={"optimizer"})
        self.optimizer = registry.build(
            run.method.optimizer, options, self.network.parameters(), seed=run.seed, steps_per_epoch=per_epoch
        )
        self.scheduler = LambdaLR(self.optimizer, lr_factor(train, per_epoch, self.total_steps))
        self.step = 0

    def fit(self, report: Callable[[Row, Row], None] = lambda metrics, timing: None) -> Result:
        """Train to the end, or to the first loss or gradient that is not finite.

        `report` is called with the metrics and the timing of each epoch.
        """
        result = Result([], [])
        for epoch in range(1, self.epochs + 1):
            start = time.perf_counter()
            first, images, sums = self.step, *self.train_epoch(epoch)
            steps = sums.cpu().double()  # the epoch's one synchronisation with the device
            bad = torch.nonzero(~torch.isfinite(steps).all(dim=1))
            if len(bad):
                result.diverged_at_step = first + int(bad[0])
                return result
            trained = time.perf_counter()
            metrics = {"epoch": epoch, "step": self.step, **self._summary(steps, images), **self._evaluate()}
            timing = {
                "epoch": epoch,
                "train_seconds": trained - start,
                "eval_seconds": time.perf_counter() - trained,
                "images_per_second": images / (trained - start),
            }
            result.metrics.append(metrics)
            result.timing.append(timing)
            report(metrics, timing)
        return result

    def train_epoch(self, epoch: int) -> tuple[int, Tensor]:
        """One epoch without a host synchronisation.

        Returns:
            The number of images, and (steps, 4) on the device: summed loss, correct, ‖g‖₁, ‖g‖₂.
        """
        self.network.train()
        parameters = list(self.network.parameters())
        images, sums = 0, []
        for x, y in self.loader.epoch(self.run.seed, epoch):
            if self.step == self.total_steps:
                break
            self.optimizer.zero_grad()
            with self._autocast():
                logits = self.network(x)
            loss = cross_entropy(logits.float(), y)
            loss.backward()
            gradients = [p.grad for p in parameters if p.grad is not None]
            l1, l2 = (torch.stack(torch._foreach_norm(gradients, order)) for order in (1, 2))
            self.lr = self.optimizer.param_groups[0]["lr"]  # of this step: the scheduler moves on
            self.optimizer.step()
            self.scheduler.step()
            self.step += 1
            images += len(y)
            correct = (logits.argmax(1) == y).sum()
            sums.append(torch.stack([loss.detach() * len(y), correct, l1.sum(), l2.norm()]))
        return images, torch.stack(sums)

    def _summary(self, steps: Tensor, images: int) -> Row:
        diagnose = getattr(self.optimizer, "diagnostics", dict)
        found: Row = {name: float(value) for name, value in diagnose().items()}
        if "phase" in found:
            before, after = self.optimizer.phases  # type: ignore[attr-defined]
            found["phase"] = {0.0: before, 1.0: after}.get(found["phase"], "mixed")
        return {
            "train_loss": float(steps[:, 0].sum()) / images,
            "train_acc": float(steps[:, 1].sum()) / images,
            "grad_l1": float(steps[:, 2].mean()),
            "grad_l2": float(steps[:, 3].mean()),
            "lr": float(self.lr),
            **found,
        }

    @torch.no_grad()
    def _evaluate(self) -> Row:
        self.network.eval()
        row: Row = {}
        for name, loader in self.evaluations.items():
            sums = []
            for x, y in loader.batches():
                with self._autocast():
                    logits = self.network(x).float()
                sums.append(
                    torch.stack([cross_entropy(logits, y, reduction="sum"), (logits.argmax(1) == y).sum()])
                )
            loss, correct = torch.stack(sums).cpu().double().sum(dim=0).tolist()
            row |= {f"{name}_loss": loss / len(loader), f"{name}_acc": correct / len(loader)}
        return row

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.run.train.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)
