"""Reading and checking of the finished runs of a campaign, with a cache.

Opening two Parquet files per run takes longer than everything else that `aggregate` does. The contents are
therefore cached in one Arrow file beside the tables. A run is read again only if the time or size of one of
its files has changed.
"""

import base64
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

import numpy as np
import pyarrow as pa

from sign_ablate.campaign.grid import Run
from sign_ablate.files import replacing
from sign_ablate.store import fingerprint, reading
from sign_ablate.store.record import DELETE_IT, DIGESTS, DamagedError
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, METRICS_SCHEMA, RUN, TIMING

#: A file that was changed less than this before it was read is not cached: it could change again within the
#: resolution of its time.
_UNSETTLED_SECONDS = 2.0
_FILES = (METRICS, RUN, *DIGESTS, TIMING, ENVIRONMENT)
Row = dict[str, Any]
#: for each file: mtime and ctime in ns, and size; zeros if the file does not exist
_Stamp = list[list[int]]


@dataclasses.dataclass(frozen=True)
class Content:
    """Content of the files of a finished run."""

    #: rows of metrics.parquet
    metrics: pa.Table
    status: str
    diverged_at_step: int | None
    #: columns of times.parquet that depend on the execution; unknown ones are left out
    times: Row
    #: columns of the campaign's predictions.parquet; empty for a run without predictions
    predictions: Row
    #: rows of probe.parquet; empty for a run without probes
    probes: list[Row]
    #: errors of damaged files on the execution, which are left out
    left_out: list[DamagedError] = dataclasses.field(default_factory=list)


def collect(runs: Sequence[Run], folders: Sequence[Path], kept: Path) -> list[Content | DamagedError]:
    """Read the runs of a campaign.

    Args:
        runs: the runs.
        folders: the folder of each run.
        kept: the cache file. It is read if it exists, and updated.

    Returns:
        For each run its content, or the error if it is damaged.

    Raises:
        OSError: if a file cannot be read or written.
    """
    known, now = _load(kept), time.time()
    stamps = [_stamp(folder) for folder in folders]
    found: list[Content | DamagedError | None] = [
        known[run.id][1] if run.id in known and known[run.id][0] == stamp else None
        for run, stamp in zip(runs, stamps, strict=True)
    ]
    new = [i for i, content in enumerate(found) if content is None]
    # Threads: decoding Parquet and waiting for a network file system release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, content in zip(new, pool.map(lambda i: _read(runs[i], folders[i]), new), strict=True):
            found[i] = content
    whole = [content for content in found if content is not None]
    settled = [
        (run.id, stamp, content)
        for run, stamp, content in zip(runs, stamps, whole, strict=True)
        if isinstance(content, Content) and not content.left_out and _newest(stamp) < now - _UNSETTLED_SECONDS
    ]
    if {name for name, _, _ in settled} != known.keys() or any(runs[i].id in known for i in new):
        _keep(kept, settled)
    return whole


def _read(run: Run, folder: Path) -> Content | DamagedError:
    try:
        metrics, predictions, probe = _metrics(run, folder), _predictions(folder), reading.probe(folder)
    except DamagedError as error:
        return error
    times, left_out = _times(folder)
    metadata = metrics.schema.metadata
    step = metadata[b"diverged_at_step"].decode()
    return Content(
        metrics=metrics.replace_schema_metadata(None),
        status=metadata[b"status"].decode(),
        diverged_at_step=int(step) if step else None,
        times=times,
        predictions=predictions,
        probes=probe.to_pylist() if probe else [],
        left_out=left_out,
    )


def _metrics(run: Run, folder: Path) -> pa.Table:
    """Read a run's metrics. Check that they belong to the run and, if it finished, have all of its epochs."""
    table, train = reading.metrics(folder), run.config.train
    spec, status = (table.schema.metadata.get(key) for key in (b"spec", b"status"))
    problem = "" if spec in {None, run.spec.encode()} else "it belongs to another run"
    done, step = table.num_rows, reading.last(table, "step")
    if status == b"finished" and (done != (train.epochs or done) or step != (train.steps or step)):
        problem = f"it ends at epoch {done}, step {step}"
    if problem:
        raise DamagedError(folder / METRICS, problem, DELETE_IT)
    return table


def _times(folder: Path) -> tuple[Row, list[DamagedError]]:
    """Columns of times.parquet, and the errors of damaged files."""
    row: Row = {}
    timing, environment, left_out = reading.execution(folder)
    if timing is not None:
        for name in ("train_seconds", "eval_seconds"):
            row[name] = math.fsum(timing[name].to_pylist())
        speeds = timing["images_per_second"].to_pylist()
        row["images_per_second"] = statistics.median(speeds) if speeds else None
    row["total_seconds"] = environment.seconds
    row["versions"] = environment.versions and json.dumps(environment.versions, sort_keys=True)
    row.update({key: getattr(environment, key) for key in ("device", "host", "code", "git_commit")})
    return row, left_out


def _predictions(folder: Path) -> Row:
    """Number of test images and packed correctness."""
    table = reading.predictions(folder)
    if table is None:
        return {}
    correct = table["correct"].to_numpy()
    return {"images": len(correct), "correct": np.packbits(correct).tobytes()}


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
        [
            name,
            stamp,
            c.metrics.num_rows,
            c.status,
            c.diverged_at_step,
            c.times,
            _as_text(c.predictions),
            c.probes,
        ]
        for name, stamp, c in contents
    ]
    table = pa.concat_tables([METRICS_SCHEMA.empty_table(), *(c.metrics for _, _, c in contents)])
    metadata = {"code": fingerprint.of_analysis(), "index": json.dumps(index)}
    table = table.combine_chunks().replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def _load(path: Path) -> dict[str, tuple[_Stamp, Content]]:
    """Read the cache: run id → stamp and content. Empty if it was written by other code or cannot be read."""
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
    for name, stamp, rows, status, step, times, predictions, probes in index:
        content = Content(table.slice(start, rows), status, step, times, _from_text(predictions), probes)
        known[name] = (stamp, content)
        start += rows
    return known


def _as_text(predictions: Row) -> Row:
    """Convert `Content.predictions` to JSON values."""
    return {k: base64.b64encode(v).decode() if k == "correct" else v for k, v in predictions.items()}


def _from_text(predictions: Row) -> Row:
    return {k: base64.b64decode(v) if k == "correct" else v for k, v in predictions.items()}
