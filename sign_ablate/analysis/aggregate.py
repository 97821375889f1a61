"""Gathers the runs of a campaign into its tables."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.analysis import schemas
from sign_ablate.analysis.stats import t_interval
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config.campaign import Campaign
from sign_ablate.files import replacing
from sign_ablate.jobs.log import complain
from sign_ablate.store import layout, reading
from sign_ablate.store.record import DELETE_IT, DamagedError
from sign_ablate.store.run_files import METRICS, METRICS_SCHEMA, write_table, write_text

Row = dict[str, Any]
_VERSION = {"schema_version": str(schemas.TABLES_VERSION)}


class AggregateError(Exception):
    """Runs are missing, or a file of a run cannot be used. The message is made for the user."""


def aggregate(campaign: Campaign, results: Path, out: Path, partial: bool = False) -> None:
    """Write epochs, runs, summary and times of a campaign's runs, and campaign.json, to `out`.

    Reads the runs that the campaign expands to and no others, so the files of a removed method are
    invisible. All but times.parquet is a pure function of the runs' metrics.parquet.

    Args:
        campaign: the campaign.
        results: the results folder, with the runs of all campaigns.
        out: folder of the tables.
        partial: take the runs that exist and are intact, and name the damaged ones on standard error; a cell
            without any has n = 0 in the summary.

    Raises:
        AggregateError: a run is missing or damaged (partial: no run is intact).
        OSError: where a table cannot be written.
    """
    runs = expand(campaign)
    folder = layout.runs_folder(results)
    present = _present(runs, folder, partial)
    present, tables, times, damaged = _read(present, folder, partial)
    rows = [_run_row(run, table) for run, table in zip(present, tables, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / schemas.CAMPAIGN, campaign.model_dump_json(exclude_unset=True) + "\n")
    _write_epochs(out / schemas.EPOCHS, rows, tables)
    write_table(out / schemas.RUNS, rows, schemas.RUNS_SCHEMA, _VERSION)
    write_table(out / schemas.SUMMARY, _summary(runs, rows, damaged), schemas.SUMMARY_SCHEMA, _VERSION)
    write_table(out / schemas.TIMES, times, schemas.TIMES_SCHEMA, _VERSION)


def _present(runs: list[Run], folder: Path, partial: bool) -> list[Run]:
    present = [run for run in runs if (folder / run.id / METRICS).exists()]
    if partial and not present:
        raise AggregateError(f"none of the campaign's {len(runs)} runs is in {folder}; train one first")
    missing = [run.id for run in runs if not (folder / run.id / METRICS).exists()]
    if missing and not partial:
        more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise AggregateError(
            f"{len(missing)} of {len(runs)} runs missing in {folder}: {', '.join(missing[:3])}{more}; "
            f"train them, or take what exists with --partial"
        )
    return present


def _read(
    runs: list[Run], folder: Path, partial: bool
) -> tuple[list[Run], list[pa.Table], list[Row], list[Run]]:
    """The intact runs, of each its metrics and its row of times.parquet, and the damaged runs."""
    intact, tables, times, damaged = [], [], [], []
    for run in runs:
        try:
            table, row = _metrics(run, folder / run.id), _times_row(run, folder / run.id)
        except DamagedError as error:
            damaged.append((run, str(error)))
            continue
        intact.append(run)
        tables.append(table)
        times.append(row)
    if damaged and not (partial and intact):
        more = f" (damaged runs: {len(damaged)}; `sign-ablate status` names them)" if damaged[1:] else ""
        raise AggregateError(damaged[0][1] + more)
    for _, problem in damaged:
        complain(f"sign-ablate: left out: {problem}")
    return intact, tables, times, [run for run, _ in damaged]


def _metrics(run: Run, folder: Path) -> pa.Table:
    """A run's metrics, checked to be of this run and, where it finished, of all its epochs."""
    table, train = reading.metrics(folder), run.config.train
    spec, status = (table.schema.metadata.get(key) for key in (b"spec", b"status"))
    problem = "" if spec in {None, run.spec.encode()} else "it belongs to another run"
    done, last = table.num_rows, table["step"].to_pylist()[-1:]
    if status == b"finished" and (done != (train.epochs or done) or last != [train.steps or last[0]]):
        problem = f"it ends at epoch {done}, step {last[0]}"
    if problem:
        raise DamagedError(folder / METRICS, problem, DELETE_IT)
    return table


def _cell_row(run: Run) -> Row:
    """The columns that all tables share. An option that the optimizer does not have is null."""
    method = run.config.method
    return {
        "dataset": run.cell.dataset,
        "method": run.cell.method,
        "label": run.cell.label,
        "optimizer": method.optimizer,
        "lr0": method.lr,
        **{key: getattr(method, key, None) for key in ("alpha", "site", "t_switch")},
    }


def _run_row(run: Run, table: pa.Table) -> Row:
    metadata = table.schema.metadata
    finished = metadata[b"status"] == b"finished"
    step = metadata[b"diverged_at_step"].decode()
    last = table.slice(table.num_rows - 1).to_pylist()[0] if finished else {}
    accuracies = [value for value in table["test_acc"].to_pylist() if value is not None]
    return {
        "run": run.id,
        **_cell_row(run),
        "seed": run.config.seed,
        "status": metadata[b"status"].decode(),
        "diverged_at_step": int(step) if step else None,
        "epochs": table.num_rows,
        "best_test_acc": max(accuracies, default=None),
        **{
            f"final_{key}": last.get(key)
            for key in ("test_acc", "test_loss", "train_loss", "train_acc", "val_acc")
        },
    }


def _write_epochs(path: Path, rows: list[Row], tables: list[pa.Table]) -> None:
    # Column by column: a campaign of 5,000 runs has a million rows.
    index = pa.array([i for i, table in enumerate(tables) for _ in range(table.num_rows)], pa.int32())
    metrics = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    columns = {}
    for column in schemas.EPOCHS_SCHEMA:
        if column.name in METRICS_SCHEMA.names:
            columns[column.name] = metrics[column.name]
        else:
            columns[column.name] = pa.array([row[column.name] for row in rows], column.type).take(index)
    table = pa.table(columns, schema=schemas.EPOCHS_SCHEMA).replace_schema_metadata(_VERSION)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _summary(runs: Iterable[Run], rows: list[Row], damaged: list[Run]) -> list[Row]:
    left_out = Counter((run.cell.dataset, run.cell.label) for run in damaged)
    cells: dict[tuple[str, str], tuple[Row, list[Row]]] = {}
    seen = set()
    for run in runs:
        key = (run.cell.dataset, run.cell.label)
        cells.setdefault(key, (_cell_row(run), []))
        # Labels show six digits: two values that differ after them must not become one cell.
        if (*key, run.config.seed) in seen:
            raise AggregateError(
                f"two cells of {key[0]} have the label {key[1]!r}: use values that differ more"
            )
        seen.add((*key, run.config.seed))
    for row in rows:
        cells[row["dataset"], row["label"]][1].append(row)
    return [
        {**cell, **_statistics(members), "n_damaged": left_out[key]} for key, (cell, members) in cells.items()
    ]


def _statistics(members: list[Row]) -> Row:
    finished = [row for row in members if row["status"] == "finished"]
    accuracies = [row["final_test_acc"] for row in finished]
    final = t_interval(accuracies)
    validation = [row["final_val_acc"] for row in finished if row["final_val_acc"] is not None]
    return {
        "n": len(members),
        "n_diverged": len(members) - len(finished),
        "mean": final.mean,
        "sd": final.sd,
        "ci_low": final.low,
        "ci_high": final.high,
        "lowest": min(accuracies, default=None),
        "highest": max(accuracies, default=None),
        "best_mean": t_interval([row["best_test_acc"] for row in finished]).mean,
        "val_mean": t_interval(validation).mean,
    }


def _times_row(run: Run, folder: Path) -> Row:
    """What is known of a run's execution: nothing here is needed for a result, so no file has to be there."""
    row: Row = {"run": run.id, **_cell_row(run), "seed": run.config.seed}
    timing = reading.timing(folder)
    if timing is not None:
        columns = timing.to_pydict()
        row["train_seconds"] = sum(columns["train_seconds"])
        row["eval_seconds"] = sum(columns["eval_seconds"])
        row["images_per_second"] = (
            statistics.median(columns["images_per_second"]) if timing.num_rows else None
        )
    environment = reading.environment(folder)
    row["total_seconds"] = environment.seconds
    row["versions"] = environment.versions and json.dumps(environment.versions, sort_keys=True)
    row.update({key: getattr(environment, key) for key in ("device", "host", "code", "git_commit")})
    return row
