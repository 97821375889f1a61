"""The files of a run, read and checked. One that is not as training wrote it is a `DamagedError`."""

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
    SCHEMA_VERSION,
    TIMING,
    TIMING_SCHEMA,
)

OTHER_COLUMNS = "its columns are not those of this version"
#: tables need neither timing.parquet nor environment.json
_GO_ON = (
    "delete it to go on without the run's times and versions, or delete the run's folder: snakemake then "
    "trains the run again"
)


class Environment(BaseModel):
    """The part of `environment.json` that tables need. None: unknown."""

    code: str | None = None
    git_commit: str | None = None
    versions: dict[str, str] | None = None
    device: str | None = None
    host: str | None = None
    seconds: float | None = None


def metrics(folder: Path) -> pa.Table:
    """A run's `metrics.parquet`, its end in the metadata: `status` and `diverged_at_step`.

    Raises:
        DamagedError: it or `run.json` is damaged.
        OSError: one of the two cannot be read; FileNotFoundError where there is no `metrics.parquet`.
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
    if status == b"finished" and not _is_fraction(last(table, "test_acc")):
        raise DamagedError(path, "there is no test accuracy in its last row", DELETE_IT)
    return table


def end(folder: Path) -> tuple[str, int | None]:
    """A run's status, finished or diverged, and the step of its divergence. Raises as `metrics` does."""
    _, recorded = record.verified(folder)
    if recorded.metrics_sha256 is not None:
        if recorded.metrics_version != SCHEMA_VERSION:
            raise DamagedError(folder / METRICS, OTHER_COLUMNS, DELETE_IT)
        return recorded.status, recorded.diverged_at_step
    metadata = metrics(folder).schema.metadata
    step = metadata.get(b"diverged_at_step", b"").decode()
    return metadata[b"status"].decode(), int(step) if step else None


def timing(folder: Path) -> pa.Table | None:
    """A run's `timing.parquet`; None where there is none. Raises DamagedError or OSError."""
    path = folder / TIMING
    try:
        return _table(path.read_bytes(), path, TIMING_SCHEMA, _GO_ON)
    except FileNotFoundError:
        return None


def environment(folder: Path) -> Environment:
    """A run's `environment.json`; all unknown where there is none. Raises DamagedError or OSError."""
    try:
        return record.read_json(folder / ENVIRONMENT, Environment, _GO_ON)
    except FileNotFoundError:
        return Environment()


def _table(content: bytes, path: Path, schema: pa.Schema, advice: str) -> pa.Table:
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            table = file.read(use_threads=False)  # a small file: threads cost more than they save
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedError(path, reason, advice) from None
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise DamagedError(path, OTHER_COLUMNS, advice)
    return table


def last(table: pa.Table, column: str) -> Any:
    """The value of a column's last row; None in a table without rows."""
    return table[column][-1].as_py() if table.num_rows else None


def _is_fraction(value: float | None) -> bool:
    return value is not None and 0 <= value <= 1  # False for NaN
