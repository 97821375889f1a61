"""Training job: trains one run and writes its files."""

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from sign_ablate.campaign.identity import parse_run
from sign_ablate.jobs import checkpoint, memory
from sign_ablate.jobs.attempt import Attempt
from sign_ablate.jobs.log import say
from sign_ablate.jobs.progress import Progress
from sign_ablate.jobs.run_lock import locked
from sign_ablate.jobs.setup import Setup
from sign_ablate.jobs.team import Action, Team, led
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
from sign_ablate.train.loop import Trainer
from sign_ablate.train.result import Result, Row

#: key of a checkpoint's state: seconds of the job so far, over all of its attempts
JOB_SECONDS = "job_seconds"


def train(
    spec: str,
    data: Path,
    out: Path,
    *,
    device: str,
    deterministic: bool = False,
    threads: int = 1,
    compile_mode: str = "none",
    ranks: int = 1,
    rank_timeout_seconds: float = 600.0,
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
        threads: CPU threads, of each rank.
        compile_mode: none, or the mode of torch.compile for the network.
        ranks: 1, or the number of the run's workers, each of which then has a process of its own.
        rank_timeout_seconds: longest time for which ranks wait for another.
        checkpoint_seconds: time between two checkpoints. One is also written on SIGTERM, SIGINT and SIGHUP.
        replaces: modification time (ns) of the `metrics.parquet` to replace. A file with another time was
            written by another process in the meantime and is kept.

    Returns:
        The result, or None if the run was finished already.

    Raises:
        JobError: if the device or a compiler is missing, memory runs out, or a rank ends early.
        ConfigError, DataError: if the specification or the data file cannot be used.
        OSError: if a file cannot be written. The last good checkpoint is kept.
        Interrupted: on SIGTERM, SIGINT and SIGHUP, after the checkpoint is written.
    """
    start = time.monotonic()
    run = parse_run(spec)
    setup = Setup(
        spec, str(data), str(out), device, deterministic, threads, compile_mode, ranks, rank_timeout_seconds
    )
    stop = checkpoint.StopSignal()
    # Signals are only recorded until the end, so that the files of a finished run are written in full.
    with stop.listening(), locked(out, stop.check):
        if _is_done(out, replaces):
            say(f"{out.name}  is done: another process has trained it")
            return None
        with Attempt(out).recorded() as attempt, memory.explained():
            chosen = setup.chosen_device()
            described = environment.describe(chosen, threads)  # before training: the code may be edited later
            with led(setup) as team:
                trainer, earlier = _resumed(setup, chosen, team)
                start -= earlier
                result = _fit(trainer, team, attempt, stop, setup, checkpoint_seconds, start)
            described |= {
                "deterministic": deterministic or device == "cpu",
                "compile": compile_mode,
                "ranks": ranks,
                "bytes_per_step": getattr(trainer.workers, "bytes_per_step", None),
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


def _resumed(setup: Setup, device: torch.device, team: Team) -> tuple[Trainer, float]:
    """Trainer that resumes from the run's checkpoint, if one can be loaded, and its seconds until then."""
    out, trainer = Path(setup.out), setup.trainer(device, team.arrive)
    state = checkpoint.load(out / CHECKPOINT, setup.spec, device)
    if state is not None:
        try:
            trainer.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if memory.is_out_of_memory(error):
                raise
            checkpoint.set_aside(out / CHECKPOINT, error)
            state, trainer = None, setup.trainer(device, team.arrive)
        else:
            say(f"{out.name}  goes on from step {trainer.step} of {trainer.total_steps}")
    team.agreed(Action.CONTINUE if state is None else Action.SAVE)  # the other ranks then load it, too
    return trainer, 0.0 if state is None else state.get(JOB_SECONDS, 0.0)


def _fit(
    trainer: Trainer,
    team: Team,
    attempt: Attempt,
    stop: checkpoint.StopSignal,
    setup: Setup,
    checkpoint_seconds: float,
    start: float,
) -> Result:
    out, saved = Path(setup.out), time.monotonic()

    def before_step() -> None:
        nonlocal saved
        due = time.monotonic() - saved > checkpoint_seconds
        action = team.agreed(Action.STOP if stop() else Action.SAVE if due else Action.CONTINUE)
        if action is not Action.CONTINUE:
            saved = time.monotonic()
            state = trainer.state_dict() | {JOB_SECONDS: saved - start}
            checkpoint.save(out / CHECKPOINT, setup.spec, state)
            saved = time.monotonic()
        if action is Action.STOP and stop.received is not None:
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
