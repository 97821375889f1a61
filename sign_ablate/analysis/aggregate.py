"""Aggregation of the runs of a campaign into its tables."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sign_ablate.analysis import schemas
from sign_ablate.analysis.collect import Content, Row, collect
from sign_ablate.analysis.stats import t_interval
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config.campaign import Campaign
from sign_ablate.files import replacing
from sign_ablate.jobs.log import complain
from sign_ablate.store import layout, reading
from sign_ablate.store.record import DamagedError
from sign_ablate.store.run_files import METRICS, METRICS_SCHEMA, write_table, write_text

_VERSION = {"schema_version": str(schemas.TABLES_VERSION)}


class AggregateError(Exception):
    """Runs are missing, or a file of a run cannot be used."""


def aggregate(campaign: Campaign, results: Path, out: Path, partial: bool = False) -> None:
    """Write the tables of a campaign (`schemas`) and campaign.json to `out`.

    Only the runs that the campaign expands to are read, so runs of a removed method are ignored. All tables
    but times.parquet are pure functions of the runs' metrics, predictions and probes. A damaged file on the
    execution of a run (`reading.execution`) is reported on standard error, and its values are null.

    Args:
        campaign: the campaign.
        results: the results folder, with the runs of all campaigns.
        out: folder of the tables.
        partial: use the runs that exist and are intact, and report damaged runs on standard error. A cell
            without such a run has n = 0 in the summary.

    Raises:
        AggregateError: if a run is missing or damaged. With `partial`, if no run is intact.
        OSError: if a table cannot be written.
    """
    runs = expand(campaign)
    folder = layout.runs_folder(results)
    present = _present(runs, folder, partial)
    contents, damaged = _read(
        present, [layout.run_folder(results, run.id) for run in present], out / schemas.KEPT, partial
    )
    write_tables(campaign, runs, contents, out, damaged)


def write_tables(
    campaign: Campaign,
    runs: Sequence[Run],
    contents: Mapping[str, Content],
    out: Path,
    damaged: Sequence[Run] = (),
) -> None:
    """Write the tables of a campaign and campaign.json.

    Args:
        campaign: the campaign.
        runs: its runs (`expand`).
        contents: run id → content of the run. Other runs of the campaign are missing in the tables.
        out: folder of the tables.
        damaged: runs that were left out because they are damaged.

    Raises:
        AggregateError: if two cells have the same label.
        OSError: if a table cannot be written.
    """
    intact = [run for run in runs if run.id in contents]
    keys = [{"run": run.id, **_cell_row(run), "seed": run.config.seed} for run in intact]
    rows = [{**key, **_result(contents[run.id])} for run, key in zip(intact, keys, strict=True)]
    times, predictions = (
        [{**key, **getattr(contents[run.id], name)} for run, key in zip(intact, keys, strict=True)]
        for name in ("times", "predictions")
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / schemas.CAMPAIGN, campaign.model_dump_json(exclude_unset=True) + "\n")
    _write_epochs(out / schemas.EPOCHS, rows, [contents[run.id].metrics for run in intact])
    write_table(out / schemas.RUNS, rows, schemas.RUNS_SCHEMA, _VERSION)
    write_table(out / schemas.SUMMARY, _summary(runs, rows, damaged), schemas.SUMMARY_SCHEMA, _VERSION)
    write_table(out / schemas.TIMES, times, schemas.TIMES_SCHEMA, _VERSION)
    write_table(out / schemas.PREDICTIONS, predictions, schemas.PREDICTIONS_SCHEMA, _VERSION)
    if any(run.config.train.probe for run in runs):
        probes = [
            {**key, **row} for run, key in zip(intact, keys, strict=True) for row in contents[run.id].probes
        ]
        write_table(out / schemas.PROBES, probes, schemas.PROBES_SCHEMA, _VERSION)
    else:
        (out / schemas.PROBES).unlink(missing_ok=True)  # of an earlier configuration


def _present(runs: list[Run], folder: Path, partial: bool) -> list[Run]:
    present = [run for run in runs if os.path.exists(f"{folder}/{run.id}/{METRICS}")]
    if partial and not present:
        raise AggregateError(f"none of the campaign's {len(runs)} runs is in {folder}; train one first")
    if len(present) < len(runs) and not partial:
        there = {run.id for run in present}
        missing = [run.id for run in runs if run.id not in there]
        more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise AggregateError(
            f"{len(missing)} of {len(runs)} runs missing in {folder}: {', '.join(missing[:3])}{more}; "
            f"train them, or take what exists with --partial"
        )
    return present


def _read(
    runs: list[Run], folders: list[Path], kept: Path, partial: bool
) -> tuple[dict[str, Content], list[Run]]:
    """Return the contents of the intact runs by their ids, and the damaged runs."""
    intact, damaged = dict[str, Content](), list[tuple[Run, DamagedError]]()
    for run, found in zip(runs, collect(runs, folders, kept), strict=True):
        if isinstance(found, DamagedError):
            damaged.append((run, found))
        else:
            intact[run.id] = found
    if damaged and not (partial and intact):
        raise AggregateError(f"{damaged[0][1]}{_more(len(damaged), 'damaged runs')}")
    for _, problem in damaged:
        complain(f"sign-ablate: left out: {problem}")
    left_out = [problem for content in intact.values() for problem in content.left_out]
    if left_out:
        complain(f"sign-ablate: warning: {left_out[0]}{_more(len(left_out), 'damaged files')}")
    return intact, [run for run, _ in damaged]


def _more(count: int, what: str) -> str:
    return f" ({what}: {count}; `sign-ablate status` names them)" if count > 1 else ""


def _cell_row(run: Run) -> Row:
    """Columns that all tables share. An option that the optimizer does not have is null."""
    method = run.config.method
    return {
        "dataset": run.cell.dataset,
        "method": run.cell.method,
        "label": run.cell.label,
        "optimizer": method.optimizer,
        "lr0": method.lr,
        **{key: getattr(method, key, None) for key in ("alpha", "site", "t_switch")},
    }


def _result(content: Content) -> Row:
    """Columns of runs.parquet with the result of a run."""
    table, finished = content.metrics, content.status == "finished"
    return {
        "status": content.status,
        "diverged_at_step": content.diverged_at_step,
        "epochs": table.num_rows,
        "best_test_acc": pc.max(table["test_acc"]).as_py(),
        **{
            f"final_{key}": reading.last(table, key) if finished else None
            for key in ("test_acc", "test_loss", "train_loss", "train_acc", "val_acc")
        },
    }


def _write_epochs(path: Path, rows: list[Row], tables: list[pa.Table]) -> None:
    # By columns for speed: a campaign of 5,000 runs has a million rows.
    index = pa.array([i for i, table in enumerate(tables) for _ in range(table.num_rows)], pa.int32())
    metrics = pa.concat_tables(tables).combine_chunks()  # the file does not depend on how they were read
    columns = {}
    for column in schemas.EPOCHS_SCHEMA:
        if column.name in METRICS_SCHEMA.names:
            columns[column.name] = metrics[column.name]
        else:
            columns[column.name] = pa.array([row[column.name] for row in rows], column.type).take(index)
    table = pa.table(columns, schema=schemas.EPOCHS_SCHEMA).replace_schema_metadata(_VERSION)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _summary(runs: Iterable[Run], rows: list[Row], damaged: Iterable[Run]) -> list[Row]:
    left_out = Counter((run.cell.dataset, run.cell.label) for run in damaged)
    cells: dict[tuple[str, str], tuple[Row, list[Row]]] = {}
    seen = set()
    for run in runs:
        key = (run.cell.dataset, run.cell.label)
        cells.setdefault(key, (_cell_row(run), []))
        # Labels show six digits. Two values that differ only in later digits must not become one cell.
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
