"""Progress of a training job: a bar with the remaining time on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from sign_ablate.jobs.log import say


def accuracy(row: Mapping[str, Any]) -> str:
    """Format the accuracy of an epoch: on the test images, or on the validation images of a trial."""
    name = "val" if row.get("test_acc") is None else "test"
    return f"{name} {row[f'{name}_acc']:.2%}"


class Progress:
    """Prints one line per epoch, or advances a bar.

    Args:
        title: name of the run.
        epochs: epochs of the run.
        done: epochs done before this job.
    """

    def __init__(self, title: str, epochs: int, done: int = 0) -> None:
        self._title, self._epochs, self._done, self._start = title, epochs, done, time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=epochs, initial=done, desc=title, unit="epoch") if terminal else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def epoch(self, row: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Report the end of an epoch, given its rows of metrics and timing."""
        images_per_second = timing["images_per_second"]
        test = accuracy(row)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{test}, {images_per_second:,.0f} images/s")
            self._bar.update()
            return
        done = row["epoch"]
        left = (time.monotonic() - self._start) / (done - self._done) * (self._epochs - done)
        say(
            f"{self._title}  epoch {done}/{self._epochs}  train loss {row['train_loss']:.4f} "
            f"({row['train_acc']:.2%})  {test}  lr {row['lr']:.3g}  {images_per_second:,.0f} images/s  "
            f"{left:.0f} s left"
        )
