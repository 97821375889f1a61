"""Ledger merged from several campaigns, and its verdicts as Markdown for generated parts of pages."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from sign_ablate.claims.page import numbers
from sign_ablate.claims.table import Row

#: heads of the columns; one that is empty in all rows of a family is left out
HEADS = ("Claim", "Verdict", "Effect", "Remark")


def merged(ledgers: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Rows of several ledgers in the order of the claims, each with a further key `campaign`.

    A claim has a row for each data set on which it was measured, from the first such campaign of the mapping.
    A claim that none measured has the row of the first campaign with data for it, or else of the first.
    """
    rows = [{**row, "campaign": campaign} for campaign, of in ledgers.items() for row in of]
    found = []
    for claim in dict.fromkeys(row["claim"] for row in rows):
        of_claim = [row for row in rows if row["claim"] == claim]
        by_data: dict[str | None, Row] = {}
        for row in of_claim:
            if is_measured(row):
                by_data.setdefault(row["dataset"], row)
        with_data = [row for row in of_claim if row["dataset"] is not None]
        found += list(by_data.values()) or (with_data or of_claim)[:1]
    return found


def is_measured(row: Row) -> bool:
    """Return True if a claim has a verdict, its own or that of a proxy."""
    return row["verdict"] != "not measured" or row["proxy_verdict"] is not None


def to_markdown(rows: Sequence[Row]) -> str:
    """Table with one row per claim of a merged ledger, and a heading for each family."""
    return "\n\n".join(_family(name, list(of)) for name, of in itertools.groupby(rows, lambda r: r["family"]))


def _family(name: str, rows: Sequence[Row]) -> str:
    table = [list(_cells(row)) for row in rows]
    used = [index for index, head in enumerate(HEADS) if any(cells[index] for cells in table)]
    lines = [[cells[index] for index in used] for cells in (HEADS, ["---"] * len(HEADS), *table)]
    return "\n".join([f"**{name}**\n", *map(_line, lines)])


def _cells(row: Row) -> Iterator[str]:
    where = f"<br>*{row['dataset']}, {row['campaign']}*" if row["dataset"] and is_measured(row) else ""
    yield f"{row['title']}{where}"
    yield f"proxy:<br>**{row['proxy_verdict']}**" if row["proxy_verdict"] else f"**{row['verdict']}**"
    yield "<br>".join(_effect(row))
    named = row["reading"] == "any" or row["effect"] is None or f"reading {row['reading']}" in row["reason"]
    yield "; ".join(filter(None, ["" if named else f"reading: {row['reading']}", row["reason"]]))


def _effect(row: Row) -> Iterator[str]:
    """Lines of the effect: intervals, arms or statement, and n, where they exist."""
    if row["effect"] is not None:
        yield _whole(numbers(row))
        if row["image_low"] is not None:
            images = f"[{row['image_low']:+.2f}, {row['image_high']:+.2f}]"
            yield _whole(f"new images, too: {images.replace('-', '−')}")
        yield row["arms"]
    if row["n"]:
        yield f"n = {row['n']:,}"


def _whole(text: str) -> str:
    """Replace spaces, so that a narrow column does not break the text."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
