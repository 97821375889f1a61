"""The table of the ledger, claims.parquet: its schema, writing and reading."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.claims.outcome import Outcome
from sign_ablate.store.run_files import field, write_table

if TYPE_CHECKING:
    from sign_ablate.claims.ledger import Row as Entry

Row = dict[str, Any]

#: Bump when a column is added, removed or changes its meaning.
LEDGER_VERSION = 2
LEDGER = "claims.parquet"
#: unit of the effect of a comparison, if it is not a point of test accuracy
_UNITS = {"first-passage": "epochs", "theory": "", "measurement": "share", "probe": ""}

_TEST = [
    field("reading", pa.string(), "reading of the paper; any where it leaves nothing open"),
    field("arms", pa.string(), "the contrast, by labels of cells"),
    field("cells", pa.list_(pa.string()), "the labels of its cells"),
    field("effect", pa.float64(), "mean of the contrast over seeds, in `unit`"),
    field("sd", pa.float64(), "standard deviation of the contrast over seeds; null for n < 2"),
    field("low", pa.float64(), "lower end of its interval for new seeds, at alpha or a part's share of it"),
    field("high", pa.float64(), "upper end of it"),
    field("image_low", pa.float64(), "lower end of its interval for new seeds and new test images"),
    field("image_high", pa.float64(), "upper end of it"),
    field("margin", pa.float64(), "the claim's margin, in `unit`"),
    field("n", pa.int32(), "seeds, or replicates"),
    field("n_diverged", pa.int32(), "seeds of which at least one arm diverged"),
    field("p", pa.float64(), "p-value of a two-sided paired t-test of zero effect, without any correction"),
    field("p_sign_flip", pa.float64(), "p-value of the sign-flip test of zero effect, for n from 8 to 16"),
    field("reason", pa.string(), "why it is not measured or unresolved, or what weakens it"),
]  # fmt: skip

#: Quantities that benchmarks measure for claims: one row per quantity.
MEASUREMENTS_SCHEMA = pa.schema(
    [
        field("quantity", pa.string(), "its name in claims.yaml"),
        field("value", pa.float64(), "its mean"),
        field("low", pa.float64(), "lower end of the 95 % t-interval of the mean"),
        field("high", pa.float64(), "upper end of it"),
        field("n", pa.int32(), "rounds"),
        field("how", pa.string(), "benchmark, machine and date"),
    ]
)

#: One row per claim and data set.
LEDGER_SCHEMA = pa.schema(
    [
        field("claim", pa.string(), "id of the claim in claims.yaml"),
        field("title", pa.string(), "the claim"),
        field("place", pa.string(), "where the paper makes it"),
        field("family", pa.string(), "claims that share the correction for multiplicity"),
        field("scope", pa.string(), "what decides it: mathematics, step-level, proxy or paper"),
        field("ours", pa.bool_(), "a control or correction of ours, and no claim of the paper"),
        field("dataset", pa.string(), "label of the data set; null where none is needed"),
        field("comparison", pa.string(), "kind of test"),
        field("verdict", pa.string(), "supported, refuted, unresolved or not measured"),
        field("proxy_verdict", pa.string(), "verdict of a proxy; null in the paper's setting"),
        field("proxy", pa.string(), "how a proxy differs from the paper's setting"),
        field("unit", pa.string(), "unit of the effect: points of accuracy, epochs, or the quantity's own"),
        field("alpha", pa.float64(), "level of the test after the correction for multiplicity"),
        *_TEST,
        field(
            "tests",
            pa.list_(pa.struct([("verdict", pa.string()), *((f.name, f.type) for f in _TEST)])),
            "all contrasts of the claim in all readings",
        ),
    ]
)  # fmt: skip


def write(rows: "Sequence[Entry]", path: Path, claims_digest: str) -> None:
    """Write the ledger as a table, with the SHA-256 of claims.yaml in its metadata."""
    metadata = {"schema_version": str(LEDGER_VERSION), "claims_sha256": claims_digest}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, [_record(row) for row in rows], LEDGER_SCHEMA, metadata)


def read(path: str | Path) -> list[Row]:
    """Read a ledger: a file, or claims.parquet in a folder. Raises OSError or pyarrow's errors."""
    path = Path(path)
    found: list[Row] = pq.read_table(path / LEDGER if path.is_dir() else path).to_pylist()
    return found


def claims_digest(path: Path) -> str:
    """SHA-256 of the claims.yaml that a ledger was made with; empty if unknown. Raises like `read`."""
    return (pq.read_schema(path).metadata or {}).get(b"claims_sha256", b"").decode()


def _record(row: "Entry") -> Row:
    claim, outcome = row.claim, row.outcome
    measured = outcome.verdict != "not measured"
    return {
        "claim": row.name,
        "title": claim.title,
        "place": claim.place,
        "family": claim.family,
        "scope": claim.scope,
        "ours": claim.ours,
        "dataset": row.dataset,
        "comparison": claim.test.comparison,
        "verdict": row.verdict,
        "proxy_verdict": outcome.verdict if row.proxy and measured else None,
        "proxy": row.proxy or None,
        "unit": _UNITS.get(claim.test.comparison, "points"),
        "alpha": row.alpha,
        **_numbers(outcome),
        "tests": [{"verdict": part.verdict, **_numbers(part)} for part in outcome.parts],
    }


def _numbers(outcome: Outcome) -> Row:
    effect, images = outcome.effect, outcome.images or (None, None)
    sampled = effect if effect and effect.differences.size else None  # else it was computed elsewhere
    return {
        "reading": outcome.reading,
        "arms": outcome.arms,
        "cells": list(outcome.cells),
        "effect": _number(effect and effect.mean),
        "sd": _number(sampled and sampled.sd),
        "low": _number(effect and effect.low),
        "high": _number(effect and effect.high),
        "image_low": _number(images[0]),
        "image_high": _number(images[1]),
        "margin": _number(outcome.margin),
        "n": effect.n if effect else None,
        "n_diverged": outcome.n_diverged,
        "p": _number(sampled and sampled.p),
        "p_sign_flip": _number(sampled and sampled.p_sign_flip),
        "reason": outcome.reason,
    }


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
