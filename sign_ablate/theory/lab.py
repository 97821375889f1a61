"""Execution of experiments, and the files that they write."""

import importlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sign_ablate.store.run_files import write_table
from sign_ablate.theory import CLAIMS, EXPERIMENTS, SEED, statements, tables

_VERSION = {"schema_version": str(tables.THEORY_VERSION)}


class TheoryError(Exception):
    """The lab does not have the experiment, or a table that it needs."""


def run(name: str, seed: int = SEED, **options: Any) -> list[tables.Row]:
    """Rows of an experiment. They depend on its name, the seed and the options alone.

    Args:
        name: a key of EXPERIMENTS.
        seed: seed of its random numbers.
        options: arguments of the experiment that replace its own, such as replicates.

    Raises:
        TheoryError: if there is no such experiment.
    """
    module = _module(name)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rows: list[tables.Row] = module.run(rng, **{**EXPERIMENTS[name].options, **options})
    return rows


def schema(name: str) -> pa.Schema:
    """Schema of an experiment's table. Raises TheoryError if there is no such experiment."""
    return tables.schema(_module(name).KEYS)


def write(name: str, out: Path, seed: int = SEED) -> None:
    """Run an experiment and write its table. Raises TheoryError, or OSError if the file cannot be written."""
    rows = run(name, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, rows, schema(name), {**_VERSION, "seed": str(seed)})


def write_claims(sources: Sequence[Path], out: Path) -> None:
    """Write the verdicts that follow from the tables of experiments.

    Raises:
        TheoryError: if a table is missing, or no table is given.
        OSError: if a file cannot be read or written.
    """
    if not sources:
        raise TheoryError(
            f"{CLAIMS}: no tables given; name those of the experiments: {', '.join(EXPERIMENTS)}"
        )
    for path in sources:
        if not path.exists():
            raise TheoryError(
                f"{path}: no such table; make it with sign-ablate theory {path.stem} --out {path}"
            )
    rows = statements.judge([pd.read_parquet(path) for path in sources])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, rows, statements.SCHEMA, _VERSION)


def _module(name: str) -> Any:
    if name not in EXPERIMENTS:
        raise TheoryError(f"experiment {name!r}: must be one of {', '.join(EXPERIMENTS)}, or {CLAIMS}")
    return importlib.import_module(f"sign_ablate.theory.{EXPERIMENTS[name].module}")
