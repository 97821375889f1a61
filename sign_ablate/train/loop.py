"""Training loop of one run. Each epoch gives one row of metrics."""

import functools
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from sign_ablate import models
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.batches import Loader
from sign_ablate.data.prepared import PreparedData
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.optim import registry
from sign_ablate.store.run_files import METRICS, METRICS_SCHEMA, unknown
from sign_ablate.train import probe
from sign_ablate.train.evaluation import evaluate, loaders
from sign_ablate.train.graph import GraphedStep
from sign_ablate.train.ranks import workers_of
from sign_ablate.train.result import Result, Row
from sign_ablate.train.schedule import lr_factor


class Trainer:
    """Network, optimizer, schedule and data of one run on one device.

    Args:
        run: configuration of the run.
        data: prepared data set of the run.
        device: device of the network and the data.
        compile_mode: torch.compile's mode for the network, or "none". "reduce-overhead" is, on CUDA with one
            worker, a CUDA graph of the whole step (`GraphedStep`), with the network compiled by "default".
        on_ranks: compute the run's workers on the ranks of the default process group. This process is one of
            them; rank 0 alone evaluates.

    Raises:
        JobError: if a probe lies after the end of the run.
    """

    def __init__(
        self,
        run: RunConfig,
        data: PreparedData,
        device: torch.device,
        compile_mode: str = "none",
        *,
        on_ranks: bool = False,
    ) -> None:
        train = run.train
        self.run, self.device = run, device
        network = models.build(train.model, data.channels, len(data.classes), seed=run.seed)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        #: None for a run with one worker, whose gradient is that of the batch
        self.workers = workers_of(run, self.network, on_ranks=on_ranks)
        graphed = compile_mode == "reduce-overhead" and device.type == "cuda" and self.workers is None
        if compile_mode != "none":
            # In place, so that checkpoints keep their names. Static shapes, since there are few batch sizes.
            self.network.compile(mode="default" if graphed else compile_mode, dynamic=False)
        self.loader = Loader(
            data.train_images, data.train_labels, data.mean, data.std,
            batch_size=train.batch_size, crop_padding=train.crop_padding, flip=train.flip, device=device,
        )  # fmt: skip
        # Of several ranks, rank 0 alone evaluates.
        follows = on_ranks and dist.get_rank() > 0
        self.evaluations = {} if follows else loaders(data, device, test=run.evaluate == "both")
        per_epoch = self.loader.steps_per_epoch
        self.total_steps = train.steps if train.steps is not None else (train.epochs or 0) * per_epoch
        self.epochs = math.ceil(self.total_steps / per_epoch)
        options = run.method.model_dump(exclude={"optimizer"})
        self.optimizer = registry.build(
            run.method.optimizer, options, self.network.parameters(), seed=run.seed, steps_per_epoch=per_epoch
        )
        self.scheduler = LambdaLR(self.optimizer, lr_factor(train, per_epoch, self.total_steps))
        self.step = 0
        self.result = Result([], [])
        self._parameters = list(self.network.parameters())
        #: None where each step's work is launched one by one
        self.graphed = GraphedStep(self._gradient_step, self.optimizer, train.batch_size) if graphed else None
        #: number of a step, from 0 → epoch of the probe that it is measured for
        self.probes = probe.steps(self)
        self._restart_epoch()

    def _restart_epoch(self) -> None:
        #: images, per-step sums (on the device) and seconds of the epoch in progress
        self.images, self.sums, self.seconds = 0, list[Tensor](), 0.0
        #: the optimizer's diagnostics of the epoch's last step, as tensors on the device
        self.diagnostics: dict[str, Tensor | float] = {}

    def fit(
        self,
        report: Callable[[Row, Row], None] = lambda metrics, timing: None,
        before_step: Callable[[], None] = lambda: None,
    ) -> Result:
        """Train to the end of the run, or of the first epoch with a loss or gradient that is not finite.

        Args:
            report: called with the metrics and the timing of each finite epoch.
            before_step: called before each step, where `state_dict` is complete; may raise to stop the run.
        """
        while self.step < self.total_steps:
            first = self.step - self.step % self.loader.steps_per_epoch
            self.train_epoch(before_step)
            start = time.perf_counter()
            steps = torch.stack(self.sums).cpu().double()  # the epoch's only synchronisation with the device
            self.seconds += time.perf_counter() - start
            bad = torch.nonzero(~torch.isfinite(steps).all(dim=1))
            if len(bad):
                self.result.diverged_at_step = first + int(bad[0])
                break
            self._finish_epoch(steps)
            report(self.result.metrics[-1], self.result.timing[-1])
        return self.result

    def train_epoch(self, before_step: Callable[[], None] = lambda: None) -> None:
        """Train to the end of the epoch in progress. Only a probe synchronises with the device."""
        self.network.train()
        epoch, done = divmod(self.step, self.loader.steps_per_epoch)
        start = time.perf_counter()

        def lap() -> None:
            nonlocal start
            now = time.perf_counter()
            self.seconds += now - start
            start = now

        try:
            for x, y in self.loader.epoch(self.run.seed, epoch + 1, first=done):
                if self.step == self.total_steps:
                    break
                lap()  # for a checkpoint in before_step
                before_step()
                step = functools.partial(self._train_step, x, y)
                if self.step in self.probes:
                    self.result.probes += probe.around(self, step, before_step)
                else:
                    step()
        finally:
            lap()

    def _train_step(self, x: Tensor, y: Tensor) -> None:
        self.lr = self.optimizer.param_groups[0]["lr"]  # before the scheduler changes it
        if self.graphed is not None:
            self.sums.append(self.graphed(x, y))
        else:
            self.sums.append(self._gradient_step(x, y))
            self.optimizer.step()
        self.step += 1
        if self.step % self.loader.steps_per_epoch == 0 or self.step == self.total_steps:
            # Before the scheduler changes lr, which λ̄ is proportional to.
            self.diagnostics = getattr(self.optimizer, "diagnostics", dict)()
        self.scheduler.step()
        self.images += len(y)

    def _gradient_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Leave the gradient in the parameters. Returns summed loss, correct predictions, ‖g‖₁ and ‖g‖₂."""
        loss, correct = self._backward(x, y)
        gradients = self._combined_gradients()
        l1, l2 = (torch.stack(torch._foreach_norm(gradients, order)) for order in (1, 2))
        if hasattr(self.optimizer, "report_loss"):  # for the plateau trigger of the hybrid
            self.optimizer.report_loss(loss)
        return torch.stack([loss.detach() * len(y), correct, l1.sum(), l2.norm()])

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and logits of a batch."""
        logits = self._logits(x)
        return cross_entropy(logits, y), logits

    def _logits(self, x: Tensor) -> Tensor:
        with self._autocast():
            return self.network(x).float()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.run.train.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _backward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and correct predictions. Leaves the gradient, or the workers' messages about theirs."""
        if self.workers is not None:
            return self.workers.backward(x, y, self.network, self.loss)
        self.optimizer.zero_grad()
        loss, logits = self.loss(x, y)
        loss.backward()
        return loss, (logits.argmax(1) == y).sum()

    def _combined_gradients(self) -> list[Tensor]:
        """Gradients that the optimizer steps with, one per parameter that has one.

        Gradients of several workers become one gradient here, between backward and step.
        """
        if self.workers is not None:
            self.workers.aggregate()
        return [p.grad for p in self._parameters if p.grad is not None]

    def _finish_epoch(self, steps: Tensor) -> None:
        start = time.perf_counter()
        epoch = len(self.result.metrics) + 1
        metrics = {"epoch": epoch, "step": self.step, **self._summary(steps, self.images), **self._evaluate()}
        timing = {
            "epoch": epoch,
            "train_seconds": self.seconds,
            "eval_seconds": time.perf_counter() - start,
            "images_per_second": self.images / self.seconds,
        }
        self.result.metrics.append(metrics)
        self.result.timing.append(timing)
        self._restart_epoch()

    def state_dict(self) -> dict[str, Any]:
        """State of the run between two steps, in types that `torch.load(weights_only=True)` accepts."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "workers": None if self.workers is None else self.workers.state_dict(),
            "step": self.step,
            "metrics": self.result.metrics,
            "timing": self.result.timing,
            "probes": self.result.probes,
            "epoch": {"images": self.images, "sums": self.sums, "seconds": self.seconds},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`. A state that does not fit raises torch's own errors."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.graphed is not None:
            self.graphed.restart()
        self.scheduler.load_state_dict(state["scheduler"])
        if self.workers is not None:
            self.workers.load_state_dict(state["workers"])
        self.step = state["step"]
        self.result = Result(state["metrics"], state["timing"], probes=state["probes"])
        epoch = state["epoch"]
        self.images, self.sums, self.seconds = epoch["images"], epoch["sums"], epoch["seconds"]

    def _summary(self, steps: Tensor, images: int) -> Row:
        found: Row = {name: float(value) for name, value in self.diagnostics.items()}
        if others := unknown(found, METRICS_SCHEMA):
            raise JobError(
                f"diagnostics of {type(self.optimizer).__name__}: {METRICS} has no column for {others}; "
                "add it to METRICS_SCHEMA (sign_ablate/store/run_files.py)"
            )
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

    def _evaluate(self) -> Row:
        self.network.eval()
        row: Row = {}
        for name, loader in self.evaluations.items():
            loss, accuracy, predicted = evaluate(loader, self._logits)
            row |= {f"{name}_loss": loss, f"{name}_acc": accuracy}
            if name == "test" and self.step == self.total_steps:
                columns = {"predicted": predicted, "correct": predicted == loader.labels}
                self.result.predictions = {key: column.cpu().numpy() for key, column in columns.items()}
        return row
