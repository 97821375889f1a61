"""Tables of a campaign from the exported tables of its parts, such as those of several machines."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import AggregateError, write_tables
from sign_ablate.analysis.collect import Content, Row
from sign_ablate.campaign.grid import expand
from sign_ablate.config.campaign import Campaign
from sign_ablate.store.run_files import METRICS_SCHEMA

#: first row and number of rows of a run that diverged in its first epoch
NO_ROWS = (0, 0)


@dataclasses.dataclass(frozen=True)
class Taken:
    """Numbers of runs of a part.

    Attributes:
        runs: those taken.
        earlier: those of the campaign that an earlier part has, too.
        others: those that are not of the campaign.
    """

    runs: int
    earlier: int
    others: int


def merge(campaign: Campaign, parts: Sequence[Path], out: Path) -> list[Taken]:
    """Write the tables of a campaign, as `aggregate` does, from folders with tables of some of its runs.

    Runs are identified by their configuration (`Run.id`), so a part may be of another campaign, and its
    labels do not matter. A run of several parts is taken from the first.

    Args:
        campaign: the campaign.
        parts: folders with tables.
        out: folder of the tables to write. It may be one of the parts.

    Returns:
        The numbers of runs of each part.

    Raises:
        AggregateError: if no part has a run of the campaign, if a table is of another version, or if the
            tables of a part are not of the same runs.
        OSError: if a table cannot be read or written.
    """
    runs = expand(campaign)
    wanted = {run.id for run in runs}
    contents: dict[str, Content] = {}
    taken = []
    for part in parts:
        found = _contents(part)
        ours = found.keys() & wanted
        new = ours - contents.keys()
        taken.append(Taken(len(new), len(ours) - len(new), len(found) - len(ours)))
        contents |= {name: found[name] for name in new}
    if not contents:
        where = ", ".join(map(str, parts))
        raise AggregateError(f"{where}: none of the {len(wanted)} runs of {campaign.campaign} is there")
    write_tables(campaign, runs, contents, out)
    return taken


def _contents(part: Path) -> dict[str, Content]:
    """Run id → content of the runs in the tables of a folder."""
    epochs = _table(part / schemas.EPOCHS, schemas.EPOCHS_SCHEMA)
    spans = _spans(epochs["run"].to_pylist())
    metrics = epochs.select(METRICS_SCHEMA.names)
    times, predictions, probes = (
        _rows(part / name, schema)
        for name, schema in (
            (schemas.TIMES, schemas.TIMES_SCHEMA),
            (schemas.PREDICTIONS, schemas.PREDICTIONS_SCHEMA),
            (schemas.PROBES, schemas.PROBES_SCHEMA),
        )
    )
    runs = {name: row for name, (row,) in _rows(part / schemas.RUNS, schemas.RUNS_SCHEMA).items()}
    for name, row in runs.items():
        if spans.get(name, NO_ROWS)[1] != row["epochs"]:
            problem = f"{schemas.EPOCHS} and {schemas.RUNS} differ in {name}"
            raise AggregateError(f"{part}: {problem}; restore both, or export it again")
    return {
        name: Content(
            metrics=metrics.slice(*spans.get(name, NO_ROWS)),
            status=row["status"],
            diverged_at_step=row["diverged_at_step"],
            times=next(iter(times[name]), {}),
            predictions=next(iter(predictions[name]), {}),
            probes=probes[name],
        )
        for name, row in runs.items()
    }


def _spans(runs: list[str]) -> dict[str, tuple[int, int]]:
    """Run id → first row and number of rows, which follow each other."""
    spans: dict[str, tuple[int, int]] = {}
    for i, name in enumerate(runs):
        start, count = spans.get(name, (i, 0))
        spans[name] = (start, count + 1)
    return spans


def _rows(path: Path, schema: pa.Schema) -> dict[str, list[Row]]:
    """Run id → rows of a table, without the columns that name the run and its cell."""
    rows: dict[str, list[Row]] = defaultdict(list)
    if path.exists():  # only a campaign with probes has a table of them
        for row in _table(path, schema).to_pylist():
            name = row["run"]
            rows[name].append({key: row[key] for key in row.keys() - schemas.KEYS})
    return rows


def _table(path: Path, schema: pa.Schema) -> pa.Table:
    table = pq.read_table(path)
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise AggregateError(
            f"{path}: its columns are not those of this version; export it again with this version"
        )
    return table
