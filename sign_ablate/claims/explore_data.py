"""Data of the interactive page: claims, runs, curves, trials and specifications as records for Altair."""

import json
from collections.abc import Iterator
from typing import Any

from sign_ablate.campaign.grid import expand
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.page import numbers
from sign_ablate.claims.table import Row

Records = list[dict[str, Any]]
#: half-width of the forest in margins
REACH = 6.0
#: points of a curve, at most
_POINTS = 50
#: `cells` of a claim that compares none
NO_CELLS = "||"


def claims(rows: list[Row]) -> Records:
    """One record per row of the ledger. `cells` is a searchable text with each cell between bars."""
    return [
        {
            "row": f"{row['claim']} {row['dataset'] or ''}".strip(),
            "title": row["title"],
            "verdict": row["proxy_verdict"] or row["verdict"],
            "shown": f"proxy: {row['proxy_verdict']}" if row["proxy_verdict"] else row["verdict"],
            "cells": f"|{'|'.join(_cells(row))}|",
            **_in_margins(row),
        }
        for row in rows
    ]


def _cells(row: Row) -> list[str]:
    parts = row["tests"] or [row]
    return list(dict.fromkeys(cell(row["dataset"], label) for part in parts for label in part["cells"]))


def cell(dataset: str | None, label: str) -> str:
    """Name of a cell on the page."""
    return f"{label} ({dataset})"


def _in_margins(row: Row) -> dict[str, float | None]:
    """Effect and interval in units of the margin, at the edge of the forest if they lie outside."""
    if row["low"] is None or not row["margin"] or row["comparison"] == "theory":
        return {}
    ends = {key: row[key] / row["margin"] for key in ("effect", "low", "high")}
    return {key: round(max(-REACH, min(REACH, value)), 3) for key, value in ends.items()}


def details(rows: list[Row]) -> Records:
    """Lines of text on each row of the ledger: the claim, its verdict, and all of its tests."""
    return [
        {"row": record["row"], "line": line, "text": text}
        for record, row in zip(claims(rows), rows, strict=True)
        for line, text in enumerate(_lines(row))
    ]


def _lines(row: Row) -> Iterator[str]:
    yield f"{row['title']} ({row['place']})"
    proxy = f" – a proxy ({row['proxy']}) says: {row['proxy_verdict']}" if row["proxy_verdict"] else ""
    yield f"{row['verdict']}{proxy}{': ' if row['reason'] else ''}{row['reason']}"
    for part in row["tests"] or [row]:
        reading = "" if part["reading"] == "any" else f"{part['reading']}: "
        effect = "" if part["effect"] is None else f" = {numbers({**row, **part})}, n = {part['n']}"
        said = "; ".join(filter(None, [part["verdict"], part["reason"]]))
        yield f"{reading}{part['arms']}{effect}: {said}"


def runs(evidence: Evidence) -> Records:
    """One record per run, with its last epoch's test accuracy in percent."""
    rows: Any = evidence.runs.to_dict("records")
    return [
        {
            "cell": cell(row["dataset"], row["label"]),
            "run": row["run"],
            "seed": row["seed"],
            "status": row["status"],
            "accuracy": round(100 * row["final_test_acc"], 3) if row["status"] == "finished" else None,
        }
        for row in rows
    ]


def curves(evidence: Evidence) -> Records:
    """Test accuracy per epoch of every run in percent, thinned to at most 50 epochs."""
    last = int(evidence.epochs["epoch"].max()) if len(evidence.epochs) else 1
    step = -(-last // _POINTS)
    every = evidence.epochs["epoch"] % step == last % step
    rows: Any = evidence.epochs.loc[every, ["dataset", "label", "seed", "epoch", "test_acc"]].to_dict(
        "records"
    )
    return [
        {
            "cell": cell(row["dataset"], row["label"]),
            "seed": row["seed"],
            "epoch": row["epoch"],
            "accuracy": round(100 * row["test_acc"], 2),
        }
        for row in rows
    ]


def trials(evidence: Evidence) -> Records:
    """Trials of the tuning, with the validation accuracy in percent. None without tuning."""
    return [
        {
            "cell": cell(dataset, label),
            "lr": trial["values"].get("lr"),
            "values": ", ".join(f"{key} {value:g}" for key, value in trial["values"].items()),
            "chosen": trial["values"] == choice["values"],
            "accuracy": round(100 * trial["val_acc"], 3) if trial["val_acc"] is not None else None,
        }
        for dataset, choices in evidence.tuned.items()
        for label, choice in choices.items()
        for trial in choice["trials"]
    ]


def specifications(evidence: Evidence) -> Records:
    """One record per cell and option that was set or tuned: the specification of its runs, without seed."""
    found: dict[tuple[str, str], str] = {}
    for run in expand(evidence.campaign):
        spec = json.loads(run.spec)
        parts = {"data": spec["data"], "method": spec["method"], "train": spec["train"]}
        for part, options in parts.items():
            for key, value in options.items():
                name = cell(run.cell.dataset, run.cell.label)
                found.setdefault((name, f"{part}.{key}"), json.dumps(value).strip('"'))
    return [{"cell": name, "key": key, "value": value} for (name, key), value in found.items()]
