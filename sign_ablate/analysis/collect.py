"""Reads and checks the finished runs of a campaign, and keeps what it read for the next time.

Opening two Parquet files per run takes longer than everything else that `aggregate` does. So what was read is
kept in one Arrow file beside the tables; a run whose files have the times and sizes of then is not reread.
"""

import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from sign_ablate.campaign.grid import Run
from sign_ablate.files import replacing
from sign_ablate.store import fingerprint, reading
from sign_ablate.store.record import DELETE_IT, DamagedError
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, METRICS_SCHEMA, RUN, TIMING

#: A file that was changed so shortly before it was read can change again without a change of its time.
_UNSETTLED_SECONDS = 2.0
_FILES = (METRICS, RUN, TIMING, ENVIRONMENT)
Row = dict[str, Any]
#: of each file: time of its content's and of its inode's last change, and size; zeros where there is none
_Stamp = list[list[int]]


@dataclasses.dataclass(frozen=True)
class Content:
    """What the files of a finished run hold."""

    #: rows of metrics.parquet
    metrics: pa.Table
    status: str
    diverged_at_step: int | None
    #: columns of times.parquet that depend on the execution; those that are unknown are left out
    times: Row


def collect(runs: Sequence[Run], folders: Sequence[Path], kept: Path) -> list[Content | DamagedError]:
    """The content of each run's folder, or what is wrong with it.

    Args:
        runs: the runs.
        folders: the folder of each.
        kept: the file of what was read the last time; it is read if it is there, and written.

    Raises:
        OSError: a file cannot be read or written.
    """
    known, now = _load(kept), time.time()
    stamps = [_stamp(folder) for folder in folders]
    found: list[Content | DamagedError | None] = [
        known[run.id][1] if run.id in known and known[run.id][0] == stamp else None
        for run, stamp in zip(runs, stamps, strict=True)
    ]
    new = [i for i, content in enumerate(found) if content is None]
    # Threads, since decoding Parquet and waiting for a network's file system leave the interpreter to others.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, content in zip(new, pool.map(lambda i: _read(runs[i], folders[i]), new), strict=True):
            found[i] = content
    whole = [content for content in found if content is not None]
    settled = [
        (run.id, stamp, content)
        for run, stamp, content in zip(runs, stamps, whole, strict=True)
        if isinstance(content, Content) and _newest(stamp) < now - _UNSETTLED_SECONDS
    ]
    if {name for name, _, _ in settled} != known.keys() or any(i for i in new if runs[i].id in known):
        _keep(kept, settled)
    return whole


def _read(run: Run, folder: Path) -> Content | DamagedError:
    try:
        metrics, times = _metrics(run, folder), _times(folder)
    except DamagedError as error:
        return error
    metadata = metrics.schema.metadata
    step = metadata[b"diverged_at_step"].decode()
    rows = metrics.replace_schema_metadata(None)
    return Content(rows, metadata[b"status"].decode(), int(step) if step else None, times)


def _metrics(run: Run, folder: Path) -> pa.Table:
    """A run's metrics, checked to be of this run and, where it finished, of all its epochs."""
    table, train = reading.metrics(folder), run.config.train
    spec, status = (table.schema.metadata.get(key) for key in (b"spec", b"status"))
    problem = "" if spec in {None, run.spec.encode()} else "it belongs to another run"
    done, step = table.num_rows, reading.last(table, "step")
    if status == b"finished" and (done != (train.epochs or done) or step != (train.steps or step)):
        problem = f"it ends at epoch {done}, step {step}"
    if problem:
        raise DamagedError(folder / METRICS, problem, DELETE_IT)
    return table


def _times(folder: Path) -> Row:
    """What is known of a run's execution: nothing here is needed for a result, so no file has to be there."""
    row: Row = {}
    timing = reading.timing(folder)
    if timing is not None:
        for name in ("train_seconds", "eval_seconds"):
            row[name] = math.fsum(timing[name].to_pylist())
        speeds = timing["images_per_second"].to_pylist()
        row["images_per_second"] = statistics.median(speeds) if speeds else None
    environment = reading.environment(folder)
    row["total_seconds"] = environment.seconds
    row["versions"] = environment.versions and json.dumps(environment.versions, sort_keys=True)
    row.update({key: getattr(environment, key) for key in ("device", "host", "code", "git_commit")})
    return row


def _stamp(folder: Path) -> _Stamp:
    stamp = []
    for name in _FILES:
        try:
            found = os.stat(f"{folder}/{name}")  # a Path would cost more than the call
        except FileNotFoundError:
            stamp.append([0, 0, 0])
            continue
        stamp.append([found.st_mtime_ns, found.st_ctime_ns, found.st_size])
    return stamp


def _newest(stamp: _Stamp) -> float:
    return max(max(modified, changed) for modified, changed, _ in stamp) / 1e9


def _keep(path: Path, contents: Sequence[tuple[str, _Stamp, Content]]) -> None:
    index = [
        [name, stamp, c.metrics.num_rows, c.status, c.diverged_at_step, c.times]
        for name, stamp, c in contents
    ]
    table = pa.concat_tables([METRICS_SCHEMA.empty_table(), *(c.metrics for _, _, c in contents)])
    metadata = {"code": fingerprint.of_analysis(), "index": json.dumps(index)}
    table = table.combine_chunks().replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def _load(path: Path) -> dict[str, tuple[_Stamp, Content]]:
    """Run id → stamp and content. Empty where the file is of other code, or cannot be used."""
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        metadata = table.schema.metadata
        if metadata[b"code"].decode() != fingerprint.of_analysis():
            return {}
        index = json.loads(metadata[b"index"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return {}
    table, known, start = table.replace_schema_metadata(None), {}, 0
    for name, stamp, rows, status, step, times in index:
        known[name] = (stamp, Content(table.slice(start, rows), status, step, times))
        start += rows
    return known
