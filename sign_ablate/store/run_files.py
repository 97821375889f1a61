"""Schemas and writing of a run's files (docs/results.md).

`metrics.parquet`, `predictions.parquet`, `probe.parquet` and `run.json` are pure functions of the run's
configuration. Values that differ between repetitions (times, versions, device) are in `timing.parquet` and
`environment.json`.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.files import replacing
from sign_ablate.store import layout

#: Bump when a column is added, removed or changes its meaning.
SCHEMA_VERSION = 2

METRICS = layout.METRICS
PREDICTIONS = layout.PREDICTIONS
PROBE = layout.PROBE
TIMING = layout.TIMING
RUN = layout.RUN
ENVIRONMENT = layout.ENVIRONMENT
CHECKPOINT = layout.CHECKPOINT
LOCK = layout.LOCK


def field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """Column of a schema, with a description that is stored in the file."""
    return pa.field(name, kind, metadata={"description": description})


#: One row per epoch. A quantity that the optimizer does not have is null.
METRICS_SCHEMA = pa.schema(
    [
        field("epoch", pa.int32(), "epochs done, from 1"),
        field("step", pa.int64(), "optimizer steps done"),
        field("train_loss", pa.float64(), "mean cross-entropy over the epoch's training batches, as trained"),
        field("train_acc", pa.float64(), "fraction correct over the epoch's training batches, as trained"),
        field("val_loss", pa.float64(), "mean cross-entropy on the held-out split; null without one"),
        field("val_acc", pa.float64(), "fraction correct on the held-out split; null without one"),
        field("test_loss", pa.float64(), "mean cross-entropy on the test images"),
        field("test_acc", pa.float64(), "fraction of the test images classified correctly"),
        field("lr", pa.float64(), "learning rate (δ) of the epoch's last step"),
        field("sigma", pa.float64(), "dither standard deviation σ_k of the epoch's last step"),
        field("lambda_k", pa.float64(), "last λ_k averaged into λ̄, eq. (12); null in the SGD phase"),
        field("lambda_skipped", pa.int64(), "number of λ_k left out of λ̄ so far: not finite, uninformative"),
        field("gamma_k", pa.float64(), "γ_k of SWATS at the last Adam step"),
        field(
            "lambda_bar",
            pa.float64(),
            "learning rate of SGD after the switch, as estimated so far: λ̄; for SWATS λ_k/(1−β₂ᵏ), then Λ",
        ),
        field(
            "phase",
            pa.string(),
            "phase of the epoch's last step: sign or adam, then sgd or compressed; mixed if tensors differ; "
            "null without a switch",
        ),
        field("grad_l1", pa.float64(), "mean over the epoch's steps of ‖g‖₁"),
        field("grad_l2", pa.float64(), "mean over the epoch's steps of ‖g‖₂"),
        field("momentum_rms", pa.float64(), "root mean square of m (β = 0: of g) at the epoch's last step"),
        field("flip_fraction", pa.float64(), "fraction of signs that the dither flipped at the last step"),
    ]
)

#: One row per test image, in the order of the prepared data file.
PREDICTIONS_SCHEMA = pa.schema(
    [
        field("predicted", pa.int32(), "class with the highest logit at the end of the run, from 0"),
        field("correct", pa.bool_(), "true if it is the image's label"),
    ]
)

#: One row per probe and quantity.
PROBE_SCHEMA = pa.schema(
    [
        field("epoch", pa.int32(), "epoch of the probe, as in `train.probe`"),
        field("step", pa.int64(), "the step that was probed, from 0"),
        field("quantity", pa.string(), "name of the quantity"),
        field(
            "value", pa.float64(), "the quantity; of a distribution its mean; null where it does not apply"
        ),
        *(
            field(f"q{percent:02}", pa.float64(), f"{percent} % quantile over the coordinates; else null")
            for percent in (5, 25, 50, 75, 95)
        ),
    ]
)

TIMING_SCHEMA = pa.schema(
    [
        field("epoch", pa.int32(), "epochs done, from 1"),
        field("train_seconds", pa.float64(), "wall seconds of the epoch's training steps"),
        field("eval_seconds", pa.float64(), "wall seconds of the epoch's evaluation"),
        field("images_per_second", pa.float64(), "training images per second of train_seconds"),
    ]
)


def unknown(row: Mapping[str, Any], schema: pa.Schema) -> str:
    """Names in a row that the schema does not have, separated by commas."""
    return ", ".join(sorted(set(row) - set(schema.names)))


def write_table(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `rows` to `path` atomically (temporary file and rename).

    Args:
        path: file to write.
        rows: rows of the table. A column that a row does not have is null.
        schema: columns of the table.
        metadata: stored in the file along with the schema version.

    Raises:
        ValueError: if a row has a value that the schema has no column for.
        OSError: if the file cannot be written.
    """
    write_bytes(path, table_bytes(rows, schema, metadata))


def table_bytes(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Content of a Parquet file as `write_table` writes it. Raises ValueError like `write_table`."""
    for row in rows:
        if others := unknown(row, schema):
            raise ValueError(f"no column for {others}: add it to the table's schema")
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
    return encoded(table, metadata)


def encoded(table: pa.Table, metadata: Mapping[str, str] | None = None) -> bytes:
    """Content of a Parquet file with `table`, and with the schema version and `metadata` in its metadata."""
    table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION), **(metadata or {})})
    content = io.BytesIO()
    # Without compression these small files are read in half the time, which matters for thousands of them.
    pq.write_table(table, content, compression="none", write_page_checksum=True)
    return content.getvalue()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically (temporary file and rename). Raises OSError if that fails."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically (temporary file and rename). Raises OSError if that fails."""
    write_bytes(path, text.encode())
