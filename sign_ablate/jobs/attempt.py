"""One attempt at a run: its `progress.json`, and the record of its failure."""

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
from sign_ablate.jobs.log import complain
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.store import progress
from sign_ablate.store.progress import Failure, Progress

#: errors that are reported by their message, without a traceback
EXPECTED = (ConfigError, DataError, JobError, OSError)


class Attempt:
    """Writes `progress.json` into the run's folder `out`."""

    def __init__(self, out: Path) -> None:
        now = time.time()
        self._out, self._now = out, Progress(started=now, updated=now)
        self._first, self._clock = 0, time.monotonic()
        progress.write(out, self._now)

    def begins(self, epochs: int, step: int, steps: int, metrics: list[dict[str, Any]]) -> None:
        """Record the start of training, from the beginning or from a checkpoint.

        Args:
            epochs: epochs of the run.
            step: steps done so far.
            steps: steps of the run.
            metrics: rows of the epochs done so far.
        """
        self._first, self._clock = len(metrics), time.monotonic()
        last = metrics[-1].get("test_acc") if metrics else None
        self._write(epochs=epochs, epoch=len(metrics), step=step, steps=steps, test_acc=last)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Record the end of an epoch."""
        mean = (time.monotonic() - self._clock) / (row["epoch"] - self._first)
        self._write(
            epoch=row["epoch"], step=row["step"], test_acc=row.get("test_acc"), seconds_per_epoch=mean
        )

    @contextlib.contextmanager
    def recorded(self) -> Iterator[Self]:
        """Context manager that records a failure of the attempt, or deletes the file on success."""
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
    """Record of an error. Errors are final, except interruptions, lack of memory and errors of the GPU."""
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


def lost(out: Path, cause: str) -> None:
    """Report a failure of the attempt at the run in `out`, whose process is about to be killed."""
    complain(f"sign-ablate: error: {cause}")
    if (now := progress.read(out)) is not None:
        ended = {"failure": Failure(kind="failed", cause=cause), "updated": time.time()}
        progress.write(out, now.model_copy(update=ended))


def _of_the_gpu(error: Exception) -> bool:
    kind = getattr(torch, "AcceleratorError", None)
    return (kind is not None and isinstance(error, kind)) or "CUDA error" in str(error)


def forget(out: Path) -> None:
    """Delete the record of a failure of an earlier call, which says nothing about the coming attempts."""
    before = progress.read(out)
    if before is not None and before.failure is not None:
        progress.remove(out)


def repeated(out: Path) -> Failure | None:
    """Failure of the previous attempt if this one would fail in the same way, otherwise None."""
    before = progress.read(out)
    return before.failure if before and before.failure and before.failure.final else None
