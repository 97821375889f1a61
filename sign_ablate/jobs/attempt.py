"""One attempt at a run: its `progress.json`, and the line, tick or record of each epoch."""

import contextlib
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from sign_ablate.config.errors import ConfigError
from sign_ablate.data.errors import DataError
from sign_ablate.files import advice
from sign_ablate.jobs.checkpoint import Interrupted
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.store import progress
from sign_ablate.store.progress import Failure, Progress

#: errors whose message is all that a user needs
EXPECTED = (ConfigError, DataError, JobError, OSError)


class Attempt:
    """Keeps the `progress.json` of the folder `out`."""

    def __init__(self, out: Path) -> None:
        now = time.time()
        self._out, self._now = out, Progress(started=now, updated=now)
        self._first, self._clock = 0, time.monotonic()
        progress.write(out, self._now)

    def begins(self, epochs: int, step: int, steps: int, metrics: list[dict[str, Any]]) -> None:
        """Record where training starts: at the beginning, or at a checkpoint."""
        self._first, self._clock = len(metrics), time.monotonic()
        last = metrics[-1]["test_acc"] if metrics else None
        self._write(epochs=epochs, epoch=len(metrics), step=step, steps=steps, test_acc=last)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Record the end of an epoch."""
        mean = (time.monotonic() - self._clock) / (row["epoch"] - self._first)
        self._write(epoch=row["epoch"], step=row["step"], test_acc=row["test_acc"], seconds_per_epoch=mean)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[Self]:
        """Record how the attempt ends: the file is deleted where the run is done."""
        try:
            yield self
        except BaseException as error:
            self._write(failure=failure(error))
            raise
        progress.remove(self._out)

    def _write(self, **changes: Any) -> None:
        self._now = self._now.model_copy(update={**changes, "updated": time.time()})
        progress.write(self._out, self._now)


def failure(error: BaseException) -> Failure:
    """The record of an error. All are final but those of memory and of the GPU, and an interruption."""
    if isinstance(error, Interrupted):
        return Failure(kind="interrupted", cause=f"stopped by {error.args[0].name}")
    if not isinstance(error, Exception):
        return Failure(kind="interrupted", cause=f"stopped by {type(error).__name__}")
    if isinstance(error, EXPECTED):
        final = not isinstance(error, JobError) or error.final
        return Failure(kind="failed", cause=f"{error}{advice(error)}", final=final)
    last = traceback.format_exception_only(error)[-1].strip().splitlines()
    return Failure(
        kind="failed",
        cause=last[0] if last else type(error).__name__,
        final=not _of_the_gpu(error),
        details="".join(traceback.format_exception(error)),
    )


def _of_the_gpu(error: Exception) -> bool:
    kind = getattr(torch, "AcceleratorError", None)
    return (kind is not None and isinstance(error, kind)) or "CUDA error" in str(error)


def repeated(out: Path) -> Failure | None:
    """The failure of the attempt before this one, where this one would end the same way."""
    before = progress.read(out)
    return before.failure if before and before.failure and before.failure.final else None
