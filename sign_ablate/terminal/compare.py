"""`sign-ablate compare`: the cells of several campaigns in one table, read from `summary.parquet`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.analysis.stats import LEAST_FOR_INTERVAL
from sign_ablate.terminal.sorting import Sort
from sign_ablate.terminal.states import columns

SUMMARY = "summary.parquet"
_COLUMNS = ("dataset", "label", "lr0", "n", "n_diverged", "mean", "ci_low", "ci_high")


class NothingToCompareError(LookupError):
    """No campaign, or not the one named, has tables."""


_KEYS: dict[Sort, Callable[[dict[str, Any]], tuple[str, ...]]] = {
    Sort.DATASET: lambda row: (row["dataset"],),
    Sort.TEST: lambda row: (),
    Sort.CAMPAIGN: lambda row: (row["campaign"], row["dataset"]),
    Sort.CELL: lambda row: (row["dataset"], row["label"]),
}


def compare(results: Path, campaigns: Sequence[str] = (), sort: Sort = Sort.DATASET) -> str:
    """Format one row per cell: mean test accuracy of the last epoch ± half of the 95 % t-interval.

    The tables of `snakemake partial` are used for a campaign that has no other tables yet.

    Args:
        results: the results folder.
        campaigns: names of campaigns. If empty, all campaigns that have tables.
        sort: order of the rows.

    Raises:
        NothingToCompareError: if a named campaign has no tables, or no campaign has any.
    """
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for name in dict.fromkeys(campaigns or _with_tables(results)):
        path = _summary(results / name)
        if path is None:
            known = ", ".join(_with_tables(results)) or "none has"
            raise NothingToCompareError(
                f"{results / name}: no {SUMMARY}; run snakemake for it first (with tables: {known})"
            )
        try:
            rows = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
        except (OSError, KeyError, pa.ArrowException) as error:
            notes.append(f"{path}: left out ({str(error).splitlines()[0]})")
            continue
        title = name if path.parent == results / name else f"{name} (partial)"
        found += [{"campaign": title, **row} for row in rows]
    if not found and not notes:
        raise NothingToCompareError(f"{results}: no campaign has tables yet; run snakemake first")
    found.sort(key=lambda row: (_KEYS[sort](row), row["mean"] is None, -(row["mean"] or 0.0)))
    heads = ("campaign", "data set", "cell", "lr", "seeds", "test %", "± 95 %")
    return "\n".join([*columns([heads, *map(_row, found)], left=3), *notes])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    mean, low, high = row["mean"], row["ci_low"], row["ci_high"]
    seeds = f"{row['n']}, {row['n_diverged']} diverged" if row["n_diverged"] else str(row["n"])
    few = row["n"] - row["n_diverged"] < LEAST_FOR_INTERVAL
    interval = "·" if low is None or few else f"{(high - low) / 2:.2%}".rstrip("%")
    test = "·" if mean is None else f"{mean:.2%}".rstrip("%")
    return row["campaign"], row["dataset"], row["label"], f"{row['lr0']:g}", seeds, test, interval


def _summary(campaign: Path) -> Path | None:
    paths = (campaign / SUMMARY, campaign / "partial" / SUMMARY)
    return next((path for path in paths if path.exists()), None)


def _with_tables(results: Path) -> list[str]:
    folders = sorted(path for path in results.glob("*") if path.is_dir())
    return [path.name for path in folders if _summary(path) is not None]
