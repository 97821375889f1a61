"""The files of a run, and the schemas of those that hold tables (docs/results.md).

`metrics.parquet` and `run.json` are pure functions of the run's configuration. What differs from run
to run (times, versions, device) is in `timing.parquet` and `environment.json`.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.files import replacing
from sign_ablate.store import layout

#: Raised when a column is added, removed or changes its meaning.
SCHEMA_VERSION = 2

METRICS = layout.METRICS
TIMING = layout.TIMING
RUN = layout.RUN
ENVIRONMENT = layout.ENVIRONMENT
CHECKPOINT = layout.CHECKPOINT
LOCK = layout.LOCK


def field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """A column that carries its description into the file."""
    return pa.field(name, kind, metadata={"description": description})


#: One row per epoch. Null where the optimizer has no such quantity.
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
        field("lambda_skipped", pa.int64(), "λ_k kept out of λ̄ so far: not finite, or without information"),
        field("gamma_k", pa.float64(), "SWATS's γ_k of the last Adam step"),
        field(
            "lambda_bar",
            pa.float64(),
            "learning rate with which SGD would take over, or did: λ̄; SWATS's λ_k/(1−β₂ᵏ), then Λ",
        ),
        field(
            "phase",
            pa.string(),
            "of the epoch's last step: sign or adam, then sgd or compressed; mixed where tensors differ; "
            "null without a switch",
        ),
        field("grad_l1", pa.float64(), "mean over the epoch's steps of ‖g‖₁"),
        field("grad_l2", pa.float64(), "mean over the epoch's steps of ‖g‖₂"),
        field("momentum_rms", pa.float64(), "root mean square of m (β = 0: of g) at the epoch's last step"),
        field("flip_fraction", pa.float64(), "fraction of signs that the dither flipped at the last step"),
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
    """The names in a row that the schema does not have."""
    return ", ".join(sorted(set(row) - set(schema.names)))


def write_table(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `rows` to `path` by way of a temporary name: a file called `path` is always whole.

    `metadata` is stored in the file beside the schema version.

    Raises:
        ValueError: for a value that the schema has no column for.
        OSError: where the file cannot be written.
    """
    write_bytes(path, table_bytes(rows, schema, metadata))


def table_bytes(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> bytes:
    """The content of a file that `write_table` writes. Raises ValueError as it does."""
    for row in rows:
        if others := unknown(row, schema):
            raise ValueError(f"no column for {others}: add it to the table's schema")
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
    stored = {"schema_version": str(SCHEMA_VERSION), **(metadata or {})}
    table = table.replace_schema_metadata(stored)
    content = io.BytesIO()
    # Not compressed: these files are small, and thousands of them are read in half the time.
    pq.write_table(table, content, compression="none", write_page_checksum=True)
    return content.getvalue()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by way of a temporary name. Raises OSError where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` by way of a temporary name. Raises OSError where it cannot be written."""
    write_bytes(path, text.encode())
