"""One training job: from a run's specification and a data file to the files of its folder."""

import json
import time
from pathlib import Path
from typing import Any

import torch

from sign_ablate.data.prepare import read
from sign_ablate.grid import parse_run
from sign_ablate.train import environment
from sign_ablate.train.lock import JobError, locked
from sign_ablate.train.loop import Result, Row, Trainer
from sign_ablate.train.metrics import (
    ENVIRONMENT,
    METRICS,
    METRICS_SCHEMA,
    RUN,
    TIMING,
    TIMING_SCHEMA,
    write_table,
    write_text,
)
from sign_ablate.train.progress import Progress


def train(spec: str, data: Path, out: Path, *, device: str, threads: int = 1) -> Result:
    """Train the run that `spec` (`Run.spec`) describes and write its files into the folder `out`.

    `metrics.parquet` comes last and by a rename: where it is, the run is done. A run that diverged is
    a result like any other.

    Raises:
        JobError: where the device is missing, or another process trains into `out`.
        ConfigError, DataError: for a specification or a data file that cannot be used.
    """
    start = time.monotonic()
    run = parse_run(spec)
    chosen = _device(device)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        trainer = Trainer(run, read(data), chosen)
        with Progress(out.name, trainer.epochs) as progress:

            def report(metrics: Row, timing: Row) -> None:
                progress.epoch(metrics, timing["images_per_second"])

            result = trainer.fit(report)
        seconds = time.monotonic() - start
        described = {**environment.describe(chosen, threads), "seconds": seconds}
        write_text(out / ENVIRONMENT, json.dumps(described, indent=2) + "\n")
        _write(result, run.model_dump(mode="json"), spec, out)
    return result


def _write(result: Result, resolved: dict[str, Any], spec: str, out: Path) -> None:
    status = {"status": result.status, "diverged_at_step": result.diverged_at_step}
    write_table(out / TIMING, result.timing, TIMING_SCHEMA)
    write_text(
        out / RUN, json.dumps({**status, "spec": json.loads(spec), "resolved": resolved}, indent=2) + "\n"
    )
    step = result.diverged_at_step
    metadata = {"status": result.status, "diverged_at_step": "" if step is None else str(step), "spec": spec}
    write_table(out / METRICS, result.metrics, METRICS_SCHEMA, metadata)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "execution.device = 'cuda': this machine shows no CUDA device; set auto or cpu, or run the job "
            "where there is one"
        )
    return torch.device(name)
