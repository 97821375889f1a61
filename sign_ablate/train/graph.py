"""Training step as one CUDA graph: forward, backward, norms, and an optimizer step that can be captured."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from sign_ablate.jobs.run_lock import JobError

Work = Callable[[], Tensor]

#: steps with a full batch before the capture: they compile the network, choose algorithms and create state
WARM_UPS = 3


class Graph(Protocol):
    """Recorder of work on a device, which can then be launched as a whole."""

    def warm_up(self, work: Work) -> Tensor:
        """Do the work without recording it, on the stream of the later capture. Returns its result."""

    def capture(self, work: Work) -> Tensor:
        """Record the work without doing it. Returns its result, which each replay fills in."""

    def replay(self) -> None:
        """Do the recorded work, on the tensors that it was recorded with."""


class CudaGraph:
    """`torch.cuda.CUDAGraph` that is captured on the stream of its warm-up."""

    def __init__(self) -> None:
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def warm_up(self, work: Work) -> Tensor:
        """Do the work on the graph's stream, since cuBLAS and autograd keep resources by stream."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def capture(self, work: Work) -> Tensor:
        """Record the work without doing it. Returns its result, which each replay fills in."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            return work()

    def replay(self) -> None:
        """Launch the recorded work on the current stream."""
        self._graph.replay()


class GraphedStep:
    """Training step whose launches are recorded once, and then replayed on each full batch.

    The first `WARM_UPS` full batches are steps of the run that are launched one by one; a smaller batch, the
    last of an epoch, always is. An optimizer with the option `capturable` is part of the graph: the number of
    the step and the learning rates are copied to the device before each step, and phase and σ_k computed
    there. Others compute them on the host; they step after the graph.

    Args:
        gradients: takes images and labels, leaves gradients in the parameters, and returns a tensor. It must
            neither wait for the device nor depend on values on the host that change from step to step.
        optimizer: steps with these gradients.
        batch_size: images of a full batch.
        new_graph: creates the recorder.
    """

    def __init__(
        self,
        gradients: Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        batch_size: int,
        new_graph: Callable[[], Graph] = CudaGraph,
    ) -> None:
        self._gradients, self._optimizer, self._batch_size = gradients, optimizer, batch_size
        self._new_graph = new_graph
        #: the optimizer's step is part of the graph
        self.whole = "capturable" in optimizer.defaults
        #: of each group: key → tensor that the graph reads the group's number from
        self._numbers = [_numbers(group) for group in optimizer.param_groups]
        self._batch: tuple[Tensor, Tensor] | None = None
        self.restart()

    def restart(self) -> None:
        """Forget the recorded step: the optimizer's state has been replaced."""
        for p, state in self._optimizer.state.items() if self.whole else ():
            if isinstance(state.get("step"), Tensor):  # Adam's, on the CPU where steps were not captured
                state["step"] = state["step"].to(p.device)
        self._graph, self._warm_ups = self._new_graph(), 0
        #: result of the recorded step, and its gradients: the same memory at each replay
        self._result: Tensor | None = None
        self._recorded: list[tuple[Tensor, Tensor | None]] = []

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make a training step.

        Args:
            x: images.
            y: their labels.

        Returns:
            The result of `gradients`.

        Raises:
            JobError: if the step cannot be captured.
        """
        with self._numbers_on_device() if self.whole else contextlib.nullcontext():
            result = self._replayed(x, y) if len(y) == self._batch_size else self._work(x, y)
        if not self.whole:
            self._optimizer.step()
        return result

    def _work(self, x: Tensor, y: Tensor) -> Tensor:
        result = self._gradients(x, y)
        if self.whole:
            self._optimizer.step()
        return result

    def _replayed(self, x: Tensor, y: Tensor) -> Tensor:
        """The step with a full batch, which is copied to the graph's input tensors."""
        if self._batch is None:
            self._batch = torch.empty_like(x), torch.empty_like(y)
        for static, new in zip(self._batch, (x, y), strict=True):
            static.copy_(new)
        work = functools.partial(self._work, *self._batch)
        if self._warm_ups < WARM_UPS:
            self._warm_ups += 1
            return self._graph.warm_up(work)
        if self._result is None:
            self._result = self._captured(work)
            parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
            self._recorded = [(p, p.grad) for p in parameters]
        self._graph.replay()
        for p, g in self._recorded:  # a smaller batch has replaced them
            p.grad = g
        return self._result.clone()

    def _captured(self, work: Work) -> Tensor:
        try:
            return self._graph.capture(work)
        except RuntimeError as error:
            cause = _first(error)
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            reason = (str(cause).splitlines() or ["no details"])[0]
            raise JobError(
                f"execution.compile = 'reduce-overhead': the step of {type(self._optimizer).__name__} cannot "
                f"be captured in a CUDA graph ({reason}); set default"
            ) from error

    @contextlib.contextmanager
    def _numbers_on_device(self) -> Iterator[None]:
        """Context manager in which learning rates and step numbers are the tensors that the graph reads.

        Outside they are numbers: those of the scheduler, of checkpoints and of diagnostics.
        """
        groups = self._optimizer.param_groups
        before = [dict(group) for group in groups]
        for group, tensors in zip(groups, self._numbers, strict=True):
            group.update({key: tensor.fill_(group[key]) for key, tensor in tensors.items()}, capturable=True)
        try:
            yield
        finally:
            for group, old, tensors in zip(groups, before, self._numbers, strict=True):
                group.update({key: old[key] for key in (*tensors, "capturable")})
        for group in groups:
            if "step" in group:
                group["step"] += 1


def _numbers(group: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors for the numbers of a group that change from step to step."""
    device = group["params"][0].device
    numbers = {"lr": torch.zeros((), device=device)}
    if "step" in group:
        numbers["step"] = torch.zeros((), dtype=torch.int64, device=device)
    return numbers


def _first(error: BaseException) -> BaseException:
    """The first exception of a chain: the end of a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return error
