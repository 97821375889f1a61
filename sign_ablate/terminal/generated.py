"""The files that are generated from the code; `make check` fails where one is out of date."""

from pathlib import Path

import pyarrow as pa

from sign_ablate.analysis import schemas
from sign_ablate.config.schema import page_text, schema_text
from sign_ablate.store import run_files


def write(root: Path, *, check: bool = False) -> list[str]:
    """Write them below `root`. Returns those that were different; with `check` none is written."""
    files = {
        "workflow/schemas/config.schema.json": schema_text(),
        "docs/config.md": page_text(),
        "docs/results.md": results_text(),
    }
    stale = []
    for name, text in files.items():
        file = root / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    return stale


def results_text() -> str:
    """docs/results.md."""
    parts = [
        "# What is in `results/`",
        "Generated from the schemas in `sign_ablate` by `sign-ablate schema`. Every Parquet file carries its "
        "schema version and a description of each column in its metadata.",
        "| path | what |\n| --- | --- |\n"
        "| `runs/<source>.<optimizer>.s<seed>.<hash>/` | one run, shared by all campaigns |\n"
        "| `data/<source>.<hash>.npz` | images as uint8, shared by all campaigns |\n"
        "| `data/digests/` | what is known of image folders ([data.md](data.md)); may be deleted |\n"
        "| `<campaign>/{epochs,runs,summary,times}.parquet` | the tables of all runs |\n"
        "| `<campaign>/.runs.arrow` | what the tables were read from, for the next time; may be deleted |\n"
        "| `<campaign>/{figures/,table1.*,report.html}` | made of the tables by notebooks |\n"
        "| `<campaign>/partial/` | the same, of the runs that exist (`snakemake partial`) |\n"
        "| `<campaign>/logs/`, `benchmarks/` | a log, and time and memory, of each job of the campaign |",
        "A run is its resolved configuration: the hash is made of what differs from the defaults, and of "
        "`NUMERICS_VERSION`. Labels of methods and data sets and the campaign's name are no part of it; they "
        "are in the tables. Two campaigns with the same SGD share its runs, and two Snakemakes that need the "
        "same run at the same time train it once. Runs that no configuration refers to stay where they are "
        "and are not read: `sign-ablate runs` lists the store, `sign-ablate prune` what none of the given "
        "configurations needs.",
        f"## A run (version {run_files.SCHEMA_VERSION})",
        "`metrics.parquet` and `run.json` depend on the configuration alone: on one kind of machine they are "
        "the same byte for byte. `run.json` has the status (`finished`, or `diverged` with "
        "`diverged_at_step`), the `spec` that identifies the run, and the `resolved` configuration with all "
        "defaults. What differs from run to run is in `timing.parquet` and `environment.json` (fingerprint "
        "of the code that makes the numbers, git commit, versions, device, compile mode, seconds, and the "
        "most memory that the run held, in MiB: that of a warm run includes what it shares with others). "
        "While a run is not done, `progress.json` has its epoch and how its last attempt ended, and "
        "`checkpoint.pt` is where the next one goes on.",
        "### `metrics.parquet`: a row per epoch",
        _table(run_files.METRICS_SCHEMA),
        "### `timing.parquet`: a row per epoch",
        _table(run_files.TIMING_SCHEMA),
        f"## A campaign (version {schemas.TABLES_VERSION})",
        "### `epochs.parquet`: a row per epoch of every run",
        "The columns of `metrics.parquet`, and:",
        _table(pa.schema([f for f in schemas.EPOCHS_SCHEMA if f not in list(run_files.METRICS_SCHEMA)])),
        "### `runs.parquet`: a row per run",
        _table(schemas.RUNS_SCHEMA),
        "### `summary.parquet`: a row per cell",
        _table(schemas.SUMMARY_SCHEMA),
        "### `times.parquet`: a row per run",
        _table(schemas.TIMES_SCHEMA),
    ]
    return "\n\n".join(parts) + "\n"


def _table(schema: pa.Schema) -> str:
    rows = ["| column | type | meaning |", "| --- | --- | --- |"]
    for field in schema:
        rows.append(f"| `{field.name}` | {field.type} | {field.metadata[b'description'].decode()} |")
    return "\n".join(rows)
