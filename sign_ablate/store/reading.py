"""Reading of a run's files, with checks. A file that is not as training wrote it raises `DamagedError`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from sign_ablate.store import record
from sign_ablate.store.record import DELETE_IT, DamagedError
from sign_ablate.store.run_files import (
    ENVIRONMENT,
    METRICS,
    METRICS_SCHEMA,
    PREDICTIONS,
    PREDICTIONS_SCHEMA,
    PROBE,
    PROBE_SCHEMA,
    SCHEMA_VERSION,
    TIMING,
    TIMING_SCHEMA,
)

OTHER_COLUMNS = "its columns are not those of this version"
#: advice for timing.parquet and environment.json, which no result depends on
_WITHOUT = (
    "the run counts without its values; delete it, or the run's folder: snakemake then trains the run again"
)


class Environment(BaseModel):
    """The values of `environment.json` that tables need. An unknown value is None."""

    code: str | None = None
    git_commit: str | None = None
    versions: dict[str, str] | None = None
    device: str | None = None
    cpu: str | None = None
    threads: int | None = None
    ranks: int | None = None
    host: str | None = None
    seconds: float | None = None


def metrics(folder: Path) -> pa.Table:
    """Read a run's `metrics.parquet`. Its metadata contain `status` and `diverged_at_step`.

    Raises:
        DamagedError: if it or `run.json` is damaged.
        OSError: if one of the two cannot be read. FileNotFoundError if there is no `metrics.parquet`.
    """
    path = folder / METRICS
    content, _ = record.verified(folder)
    table = _table(content, path, METRICS_SCHEMA, DELETE_IT)
    metadata = table.schema.metadata or {}
    status, step = metadata.get(b"status"), metadata.get(b"diverged_at_step", b"")
    if status not in {b"finished", b"diverged"} or step.isdigit() != (status == b"diverged"):
        raise DamagedError(path, "it does not say how the run ended", DELETE_IT)
    if table["epoch"].to_pylist() != list(range(1, table.num_rows + 1)):  # to_numpy imports pandas
        raise DamagedError(path, "epochs are missing", DELETE_IT)
    name = "val" if _is_trial(metadata) else "test"
    if status == b"finished" and not _is_fraction(last(table, f"{name}_acc")):
        raise DamagedError(path, f"there is no {name} accuracy in its last row", DELETE_IT)
    return table


def predictions(folder: Path) -> pa.Table | None:
    """Read a run's `predictions.parquet`, one row per test image.

    Returns:
        The table, or None if the run has none: it diverged, was not evaluated on test images, or was trained
        by a version without this file.

    Raises:
        DamagedError: if it or `run.json` is damaged.
        OSError: if one of the two cannot be read.
    """
    return _optional(folder, PREDICTIONS, PREDICTIONS_SCHEMA)


def probe(folder: Path) -> pa.Table | None:
    """Read a run's `probe.parquet`. Return None for a run without probes. Raises like `predictions`."""
    return _optional(folder, PROBE, PROBE_SCHEMA)


def _optional(folder: Path, name: str, schema: pa.Schema) -> pa.Table | None:
    recorded = record.read(folder)
    content = None if recorded is None else record.optional(folder, name, recorded)
    return None if content is None else _table(content, folder / name, schema, DELETE_IT)


def end(folder: Path) -> tuple[str, int | None]:
    """Return a run's status (finished or diverged) and the step of its divergence. Raises like `metrics`."""
    _, recorded = record.verified(folder)
    if recorded.metrics_sha256 is not None:
        if recorded.metrics_version != SCHEMA_VERSION:
            raise DamagedError(folder / METRICS, OTHER_COLUMNS, DELETE_IT)
        return recorded.status, recorded.diverged_at_step
    metadata = metrics(folder).schema.metadata
    step = metadata.get(b"diverged_at_step", b"").decode()
    return metadata[b"status"].decode(), int(step) if step else None


def timing(folder: Path) -> pa.Table | None:
    """Read a run's `timing.parquet`. Return None if it is missing. Raises DamagedError or OSError."""
    path = folder / TIMING
    try:
        return _table(record.content(path, _WITHOUT), path, TIMING_SCHEMA, _WITHOUT)
    except FileNotFoundError:
        return None


def environment(folder: Path) -> Environment:
    """Read a run's `environment.json`. Its values are None if it is missing. Raises DamagedError, OSError."""
    try:
        return record.read_json(folder / ENVIRONMENT, Environment, _WITHOUT)
    except FileNotFoundError:
        return Environment()


def execution(folder: Path) -> tuple[pa.Table | None, Environment, list[DamagedError]]:
    """Read the files on a run's execution: `timing`, `environment`, and the errors of damaged ones.

    A damaged file counts as missing. Raises OSError.
    """
    times, described, damaged = None, Environment(), list[DamagedError]()
    try:
        times = timing(folder)
    except DamagedError as error:
        damaged.append(error)
    try:
        described = environment(folder)
    except DamagedError as error:
        damaged.append(error)
    return times, described, damaged


def _table(content: bytes, path: Path, schema: pa.Schema, advice: str) -> pa.Table:
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            table = file.read(use_threads=False)  # the file is small: threads cost more than they save
    except Exception as error:  # the type of the error depends on where the file is damaged
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedError(path, reason, advice) from None
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise DamagedError(path, OTHER_COLUMNS, advice)
    return table


def last(table: pa.Table, column: str) -> Any:
    """Value of a column in the last row, or None if the table has no rows."""
    return table[column][-1].as_py() if table.num_rows else None


def last_row(table: pa.Table) -> dict[str, Any]:
    """The last row of a table that has rows."""
    row: dict[str, Any] = table.slice(table.num_rows - 1).to_pylist()[0]
    return row


def _is_trial(metadata: Mapping[bytes, bytes]) -> bool:
    """Return True if the run was evaluated on validation images only (`RunConfig.evaluate`)."""
    return b'"evaluate":"val"' in metadata.get(b"spec", b"")


def _is_fraction(value: float | None) -> bool:
    return value is not None and 0 <= value <= 1  # False for NaN
