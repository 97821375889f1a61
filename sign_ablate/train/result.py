"""Result of a run: metrics per epoch, timing, predictions and probes."""

import dataclasses
from typing import Any, Literal

import numpy as np

Row = dict[str, Any]


@dataclasses.dataclass
class Result:
    """Metrics and timing of a run.

    `diverged_at_step` is the first step k (from 0) whose loss or gradient was not finite, or None. If only
    the very last step damages the network, the run is finished, with a test loss that is not finite.
    `predictions` are the columns of predictions.parquet: the test images, as classified after the last step.
    None if the run diverged or has no test images. `probes` are the rows of probe.parquet.
    """

    metrics: list[Row]
    timing: list[Row]
    diverged_at_step: int | None = None
    predictions: dict[str, np.ndarray] | None = None
    probes: list[Row] = dataclasses.field(default_factory=list)

    @property
    def status(self) -> Literal["finished", "diverged"]:
        """Status of the run: "finished" or "diverged"."""
        return "finished" if self.diverged_at_step is None else "diverged"
