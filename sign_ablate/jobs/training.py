"""Training job: trains one run and writes its files."""

import copy
import json
import math
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from sign_ablate.campaign.identity import parse_run
from sign_ablate.data.prepared import read
from sign_ablate.jobs import checkpoint, memory
from sign_ablate.jobs.attempt import Attempt
from sign_ablate.jobs.log import say
from sign_ablate.jobs.progress import Progress
from sign_ablate.jobs.run_lock import JobError, locked
from sign_ablate.store import environment, record
from sign_ablate.store.run_files import (
    CHECKPOINT,
    ENVIRONMENT,
    METRICS,
    METRICS_SCHEMA,
    PREDICTIONS,
    PREDICTIONS_SCHEMA,
    PROBE,
    PROBE_SCHEMA,
    RUN,
    SCHEMA_VERSION,
    TIMING,
    TIMING_SCHEMA,
    encoded,
    table_bytes,
    write_bytes,
    write_table,
    write_text,
)
from sign_ablate.train.loop import Result, Row, Trainer


def train(
    spec: str,
    data: Path,
    out: Path,
    *,
    device: str,
    deterministic: bool = False,
    threads: int = 1,
    compile_mode: str = "none",
    checkpoint_seconds: float = math.inf,
    replaces: int = 0,
) -> Result | None:
    """Train the run that `spec` (`Run.spec`) describes and write its files into the folder `out`.

    `metrics.parquet` is written last and atomically: once it exists, the run is finished. A diverged run is a
    result like any other. Training resumes from the checkpoint in `out` if there is one. If another process
    is training the run, this one waits for it.

    Args:
        spec: `Run.spec`.
        data: file that `prepare` wrote.
        out: the run's folder.
        device: cpu or cuda.
        deterministic: make runs on a GPU bitwise reproducible. The setting stays for the rest of the process.
        threads: CPU threads.
        compile_mode: none, or the mode of torch.compile for the network.
        checkpoint_seconds: time between two checkpoints. One is also written on SIGTERM, SIGINT and SIGHUP.
        replaces: modification time (ns) of the `metrics.parquet` to replace. A file with another time was
            written by another process in the meantime and is kept.

    Returns:
        The result, or None if the run was finished already.

    Raises:
        JobError: if the device or a compiler is missing, or memory runs out.
        ConfigError, DataError: if the specification or the data file cannot be used.
        OSError: if a file cannot be written. The last good checkpoint is kept.
        Interrupted: on SIGTERM, SIGINT and SIGHUP, after the checkpoint is written.
    """
    start = time.monotonic()
    run = parse_run(spec)
    stop = checkpoint.StopSignal()
    # Signals are only recorded until the end, so that the files of a finished run are written in full.
    with stop.listening(), locked(out, stop.check):
        if _is_done(out, replaces):
            say(f"{out.name}  is done: another process has trained it")
            return None
        with Attempt(out).recorded() as attempt, memory.explained():
            chosen = _device(device, deterministic)
            _check_compiler(compile_mode, device)
            torch.set_num_threads(threads)
            described = environment.describe(chosen, threads)  # before training: the code may be edited later
            trainer = _resumed(Trainer(run, read(data), chosen, compile_mode), spec, out)
            result = _fit(trainer, attempt, stop, spec, out, checkpoint_seconds)
            described |= {
                "deterministic": deterministic or device == "cpu",
                "compile": compile_mode,
                "seconds": time.monotonic() - start,
                "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # KiB on Linux
            }
            write_text(out / ENVIRONMENT, json.dumps(described, indent=2) + "\n")
            _write(result, run.model_dump(mode="json"), spec, out)
            for name in (CHECKPOINT, f"{CHECKPOINT}.tmp"):  # .tmp: left by a process killed while writing
                (out / name).unlink(missing_ok=True)
    return result


def _is_done(out: Path, replaces: int) -> bool:
    """Return True if `out` has an undamaged result that is not the one to replace."""
    try:
        record.verified(out)
        return (out / METRICS).stat().st_mtime_ns != replaces
    except (FileNotFoundError, record.DamagedError):
        return False


def _resumed(trainer: Trainer, spec: str, out: Path) -> Trainer:
    """Restore the trainer from the checkpoint in `out`, if there is one that can be loaded."""
    state = checkpoint.load(out / CHECKPOINT, spec, trainer.device)
    if state is None:
        return trainer
    fresh = copy.deepcopy(trainer.state_dict())
    try:
        trainer.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if memory.is_out_of_memory(error):
            raise
        checkpoint.set_aside(out / CHECKPOINT, error)
        trainer.load_state_dict(fresh)
    else:
        say(f"{out.name}  goes on from step {trainer.step} of {trainer.total_steps}")
    return trainer


def _fit(
    trainer: Trainer,
    attempt: Attempt,
    stop: checkpoint.StopSignal,
    spec: str,
    out: Path,
    checkpoint_seconds: float,
) -> Result:
    saved = time.monotonic()

    def before_step() -> None:
        nonlocal saved
        if stop() or time.monotonic() - saved > checkpoint_seconds:
            checkpoint.save(out / CHECKPOINT, spec, trainer.state_dict())
            saved = time.monotonic()
        if stop.received is not None:
            say(f"stopped by {stop.received.name}; a checkpoint is kept, and the next call goes on from it")
            raise checkpoint.Interrupted(stop.received)

    attempt.begins(trainer.epochs, trainer.step, trainer.total_steps, trainer.result.metrics)
    with Progress(out.name, trainer.epochs, len(trainer.result.metrics)) as progress:

        def after_epoch(row: Row, timing: Row) -> None:
            attempt.epoch(row)
            progress.epoch(row, timing)

        return trainer.fit(after_epoch, before_step)


def _write(result: Result, resolved: dict[str, Any], spec: str, out: Path) -> None:
    step = result.diverged_at_step
    metadata = {"status": result.status, "diverged_at_step": "" if step is None else str(step), "spec": spec}
    content = table_bytes(result.metrics, METRICS_SCHEMA, metadata)
    optional = dict[str, bytes]()
    if result.predictions is not None:
        table = pa.table(result.predictions, schema=PREDICTIONS_SCHEMA)
        optional[PREDICTIONS] = encoded(table, {"spec": spec})
    if result.probes:
        optional[PROBE] = table_bytes(result.probes, PROBE_SCHEMA, {"spec": spec})
    recorded = record.Record(
        status=result.status,
        diverged_at_step=step,
        metrics_sha256=record.digest(content),
        metrics_version=SCHEMA_VERSION,
        **{record.DIGESTS[name]: record.digest(content) for name, content in optional.items()},
        spec=json.loads(spec),
        resolved=record.Resolved(**resolved),
    )
    write_table(out / TIMING, result.timing, TIMING_SCHEMA)
    for name in record.DIGESTS:
        if name in optional:
            write_bytes(out / name, optional[name])
        else:
            (out / name).unlink(missing_ok=True)  # of an earlier result, made by other code
    write_text(out / RUN, recorded.model_dump_json(indent=2) + "\n")
    write_bytes(out / METRICS, content)


def _device(name: str, deterministic: bool) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "execution.device = 'cuda': this machine shows no CUDA device; set auto or cpu, or run the job "
            "where there is one"
        )
    if name == "cuda":
        set_up_cuda(deterministic)
    return torch.device(name)


def _check_compiler(compile_mode: str, device: str) -> None:
    if compile_mode != "none" and device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise JobError(
            f"execution.compile = {compile_mode!r}: on a CPU, torch.compile needs a C++ compiler; "
            "install g++, or set none"
        )


def set_up_cuda(deterministic: bool) -> None:
    """Configure CUDA in this process for speed, or for bitwise reproducible runs."""
    if deterministic:
        # cuBLAS reads this on first use. 4096:8 is the faster of its two deterministic values.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    # benchmark: cuDNN times its algorithms on the first batch. The fastest one may differ between runs.
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)  # operations without one raise an error
