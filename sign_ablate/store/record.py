"""`run.json`: the identity of a run, its end, and the digests of its metrics and predictions.

The Snakefile checks the runs of a campaign on every start, so this module does not import pyarrow.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sign_ablate.store.layout import METRICS, PREDICTIONS, PROBE, RUN

#: advice for damage that `set_damaged_aside` detects
RUN_AGAIN = "run snakemake again, which trains this run again"
#: files that only some runs have → field of the record with their digest
DIGESTS = {PREDICTIONS: "predictions_sha256", PROBE: "probe_sha256"}
#: advice for damage that it does not detect
DELETE_IT = f"delete it and {RUN_AGAIN}"
M = TypeVar("M", bound=BaseModel)


class DamagedError(Exception):
    """A file of a run is not as training wrote it.

    Attributes:
        problem: the message without the advice on what to do.
    """

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        self.problem = f"{path}: damaged ({reason})"
        super().__init__(f"{self.problem}; {advice}")


class Resolved(BaseModel):
    """Configuration of a run, with all defaults."""

    data: dict[str, Any]
    method: dict[str, Any]
    train: dict[str, Any]
    seed: int
    evaluate: str = "both"


class Record(BaseModel):
    """The content of `run.json`."""

    model_config = ConfigDict(frozen=True)

    status: Literal["finished", "diverged"]
    diverged_at_step: int | None
    #: SHA-256 of metrics.parquet; None in records of earlier versions
    metrics_sha256: str | None = None
    #: SCHEMA_VERSION of metrics.parquet; None in records of earlier versions
    metrics_version: int | None = None
    #: SHA-256 of predictions.parquet; None for a run without one: diverged, without test images, or of an
    #: earlier version
    predictions_sha256: str | None = None
    #: SHA-256 of probe.parquet; None for a run without probes
    probe_sha256: str | None = None
    spec: dict[str, Any]
    resolved: Resolved


def digest(content: bytes) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read(folder: Path) -> Record | None:
    """Read the record of the run in `folder`. Return None if there is none.

    Raises:
        DamagedError: if its content is invalid.
        OSError: if it cannot be read.
    """
    try:
        return read_json(folder / RUN, Record, RUN_AGAIN)
    except FileNotFoundError:
        return None


def read_json(path: Path, model: type[M], advice: str) -> M:
    """Read a JSON file as a `model`. Raises like `content`, and DamagedError for other content."""
    try:
        return model.model_validate_json(content(path, advice))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise DamagedError(path, f"{where}: {problem}" if where else problem, advice) from None


def content(path: Path, advice: str) -> bytes:
    """Content of a run's file. Raises DamagedError, with `advice`, for a folder in its place, or OSError."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise DamagedError(path, "it is a folder", advice) from None


def verified(folder: Path) -> tuple[bytes, Record]:
    """Read a run's `metrics.parquet` and its record, and check its files against the record.

    Returns:
        Content of `metrics.parquet`, and the record.

    Raises:
        DamagedError: if a file is damaged, or if the record or a file with a digest in it is missing although
            they are written first.
        OSError: if a file cannot be read. FileNotFoundError if there is no `metrics.parquet`.
    """
    metrics, record = content(folder / METRICS, RUN_AGAIN), read(folder)
    if record is None:
        _check(folder / METRICS, metrics, None)
        raise DamagedError(folder / RUN, "it is missing", RUN_AGAIN)
    _check(folder / METRICS, metrics, record.metrics_sha256)
    for name in DIGESTS:
        optional(folder, name, record)
    return metrics, record


def optional(folder: Path, name: str, record: Record) -> bytes | None:
    """Content of one of `DIGESTS`; None without its digest in the record. Raises DamagedError, OSError."""
    expected = getattr(record, DIGESTS[name])
    if expected is None:
        return None
    path = folder / name
    try:
        found = content(path, RUN_AGAIN)
    except FileNotFoundError:
        raise DamagedError(path, "it is missing", RUN_AGAIN) from None
    _check(path, found, expected)
    return found


def _check(path: Path, found: bytes, expected: str | None) -> None:
    if not found:
        raise DamagedError(path, "it is empty", RUN_AGAIN)
    if expected not in {None, digest(found)}:
        raise DamagedError(path, f"its SHA-256 is not the one in {RUN}", RUN_AGAIN)


def set_damaged_aside(folder: Path) -> str | None:
    """Rename the `metrics.parquet` of a damaged run, so that it is trained again.

    Returns:
        A line to show to the user, or None if the run is not finished or not damaged.
    """
    path = folder / METRICS
    try:
        verified(folder)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        aside = path.with_name(f"{METRICS}.damaged")
        path.replace(aside)
        return f"{error.problem}; {METRICS} is set aside as {aside.name}, and the run is trained again"
    return None
