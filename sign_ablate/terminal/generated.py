"""Generation of files: the JSON schema, docs/config.md and docs/results.md, and parts of other pages.

`make check` fails if one of them is out of date.
"""

from pathlib import Path

import pyarrow as pa

from sign_ablate.analysis import schemas
from sign_ablate.claims import table as ledger
from sign_ablate.config.schema import page_text, schema_text
from sign_ablate.store import run_files
from sign_ablate.store.layout import reference_folder
from sign_ablate.store.quantities import PROBE_QUANTITIES
from sign_ablate.terminal import pages
from sign_ablate.theory import statements, tables


def write(root: Path, *, check: bool = False) -> list[str]:
    """Write the generated files below `root`, or only compare them if `check` is set.

    Returns:
        Names of the files that were missing or out of date.
    """
    files = {
        "workflow/schemas/config.schema.json": schema_text(),
        "docs/config.md": page_text(),
        "docs/results.md": results_text(),
    }
    for name in pages.PAGES:
        if (root / name).exists():
            files[name] = pages.filled((root / name).read_text("utf-8"), reference_folder(root / "results"))
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
    """Text of docs/results.md."""
    return "\n\n".join([*_contents(), *_run_files(), *_tables()]) + "\n"


def _contents() -> list[str]:
    """Paths below `results/`, and what identifies a run."""
    return [
        "# Contents of `results/`",
        "Generated from the schemas in `sign_ablate` by `sign-ablate schema`. The metadata of every Parquet "
        "file contain its schema version and a description of each column.",
        "| path | content |\n| --- | --- |\n"
        "| `runs/<source>.<optimizer>.s<seed>.<hash>/` | one run, shared by all campaigns |\n"
        "| `data/<source>.<hash>.npz` | images as uint8, shared by all campaigns |\n"
        "| `data/digests/` | cached digests of image folders ([data.md](data.md)); may be deleted |\n"
        "| `<campaign>/{epochs,runs,summary,times,predictions,probes}.parquet` | tables of all runs |\n"
        "| `<campaign>/claims.parquet` | the ledger: a verdict on each claim of `claims.yaml` |\n"
        "| `<campaign>/explore.html` | the interactive ledger, with runs, curves and trials |\n"
        "| `<campaign>/.runs.arrow` | cache of the runs read for the tables; may be deleted |\n"
        "| `<campaign>/{figures/,table1.*,report.html}` | figures, table and report, made by notebooks |\n"
        "| `<campaign>/partial/` | the same for the runs finished so far (`snakemake partial`) |\n"
        "| `reference/<campaign>/` | tables, ledger, `tuned.json`, figures and origin of a campaign, kept by "
        "`sign-ablate export` or `merge` |\n"
        "| `rebuilt/<campaign>/` | ledger, figures and report that `sign-ablate rebuild` made of them |\n"
        "| `theory/` | tables, figures and report of the theory lab: [theory.md](theory.md) |\n"
        "| `<campaign>/logs/`, `benchmarks/` | log, and time and memory, of each job of the campaign |",
        "A run is identified by its resolved configuration. The hash is computed from the values that differ "
        "from the defaults and from `NUMERICS_VERSION`. The name of a campaign and the labels of methods and "
        "data sets are not part of it; they are in the tables. Two campaigns with the same SGD baseline "
        "share its runs. Two Snakemake processes that need the same run at the same time train it once. Runs "
        "that no configuration refers to are kept and are not read. `sign-ablate runs` lists the stored "
        "runs. `sign-ablate prune` lists the runs that none of the given configurations needs. A value that "
        "was changed with `--config` is given as `--set KEY=VALUE`, for all of the given campaigns; without "
        "it the runs that it made count as not needed. Runs that fit a tuned cell whose choice is missing "
        "are kept.",
    ]


def _run_files() -> list[str]:
    """Files of one run, with their columns."""
    return [
        f"## Files of a run (version {run_files.SCHEMA_VERSION})",
        "`metrics.parquet`, `predictions.parquet`, `probe.parquet` and `run.json` depend on the "
        "configuration alone: on one kind of machine they are identical byte for byte. `run.json` contains "
        "the status (`finished`, or `diverged` with `diverged_at_step`), the `spec` that identifies the run, "
        "and the `resolved` configuration with all defaults. Values that differ between repetitions are in "
        "`timing.parquet` and `environment.json`, and a run counts without them if they are missing or "
        "damaged. The latter contains the fingerprint of the training code, the git commit, versions, "
        "device, compile mode, seconds, and the peak memory in MiB. The peak memory of a warm-started run "
        "includes memory that it shares with other runs. Until a run is finished, `progress.json` contains "
        "its epoch and the end of its last attempt, and the next attempt resumes from `checkpoint.pt`.",
        "### `metrics.parquet`: one row per epoch",
        _table(run_files.METRICS_SCHEMA),
        "### `predictions.parquet`: one row per test image, in the order of the prepared data",
        "Only of finished runs that are evaluated on test images. `run.json` contains its digest.",
        _table(run_files.PREDICTIONS_SCHEMA),
        "### `probe.parquet`: one row per probe and quantity",
        "Only of runs with `train.probe`. `run.json` contains its digest. "
        "ḡ and σ are the mean and the standard deviation of the gradients of minibatches at the parameters "
        "before the step; g is the gradient of the step's own minibatch, without weight decay; Δ is the "
        "parameters before the step minus those after it.",
        _table(run_files.PROBE_SCHEMA),
        _quantities(),
        "### `timing.parquet`: one row per epoch",
        _table(run_files.TIMING_SCHEMA),
    ]


def _tables() -> list[str]:
    """Tables of campaigns, of the ledger and of the theory lab, with their columns."""
    return [
        f"## Tables of a campaign (version {schemas.TABLES_VERSION})",
        "### `epochs.parquet`: one row per epoch of every run",
        "The columns of `metrics.parquet`, and:",
        _table(pa.schema([f for f in schemas.EPOCHS_SCHEMA if f not in list(run_files.METRICS_SCHEMA)])),
        "### `runs.parquet`: one row per run",
        _table(schemas.RUNS_SCHEMA),
        "### `summary.parquet`: one row per cell",
        _table(schemas.SUMMARY_SCHEMA),
        "### `times.parquet`: one row per run",
        _table(schemas.TIMES_SCHEMA),
        "### `predictions.parquet`: one row per run",
        _table(schemas.PREDICTIONS_SCHEMA),
        "### `probes.parquet`: one row per probe and quantity of every run",
        "Only of a campaign with `train.probe`: the columns `run` to `seed` above, and those of "
        "`probe.parquet`.",
        f"## The ledger (version {ledger.LEDGER_VERSION})",
        "### `claims.parquet`: one row per claim and data set",
        "Its metadata contain the SHA-256 of `claims.yaml`. The column `tests` has the columns from "
        "`reading` to `reason`, and the verdict, for each contrast of the claim in each reading.",
        _table(pa.schema([f for f in ledger.LEDGER_SCHEMA if f.name != "tests"])),
        f"## Tables of the theory lab (version {tables.THEORY_VERSION})",
        "### `theory/<experiment>.parquet`: one row per quantity and setting",
        "Columns for the setting, which differ between experiments, and:",
        _table(tables.schema([])),
        "### `theory/claims.parquet`: one row per claim",
        _table(statements.SCHEMA),
    ]


def _quantities() -> str:
    rows = ["| quantity | meaning |", "| --- | --- |"]
    for name, meaning in PROBE_QUANTITIES.items():
        escaped = meaning.replace("|", r"\|")
        rows.append(f"| `{name}` | {escaped} |")
    return "\n".join(rows)


def _table(schema: pa.Schema) -> str:
    rows = ["| column | type | meaning |", "| --- | --- | --- |"]
    for field in schema:
        rows.append(f"| `{field.name}` | {field.type} | {field.metadata[b'description'].decode()} |")
    return "\n".join(rows)
