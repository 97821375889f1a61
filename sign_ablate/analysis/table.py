"""Table I: the paper's number beside ours, per cell and data set, as Markdown, LaTeX and CSV."""

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sign_ablate.analysis import paper
from sign_ablate.analysis.schemas import CAMPAIGN
from sign_ablate.campaign.grid import expand
from sign_ablate.config.campaign import Campaign
from sign_ablate.store.run_files import write_text

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A cell's numbers, in percent. None where there is no such number."""

    paper: float | None = None
    mean: float | None = None
    half: float | None = None
    n: int = 0
    n_diverged: int = 0


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows are labels in campaign order, with an entry for each data set."""

    datasets: tuple[str, ...]
    rows: dict[str, dict[str, Entry]]
    notes: tuple[str, ...]


def read_campaign(path: str | Path) -> Campaign:
    """The campaign in a campaign.json, or in the folder that holds one."""
    path = Path(path)
    path = path / CAMPAIGN if path.is_dir() else path
    return Campaign.model_validate_json(path.read_text(encoding="utf-8"))


def table1(summary: pd.DataFrame, campaign: Campaign) -> Table:
    """The table of a campaign.

    Args:
        summary: rows of summary.parquet.
        campaign: the campaign that it was made from.
    """
    found = {(row["dataset"], row["label"]): row for row in summary.to_dict("records")}
    rows: dict[str, dict[str, Entry]] = {}
    for run in expand(campaign):
        dataset, label = run.cell.dataset, run.cell.label
        entries = rows.setdefault(label, {})
        if dataset not in entries:
            entries[dataset] = _entry(found.get((dataset, label)), paper.paper_accuracy(run.config))
    datasets = tuple(campaign.datasets)
    return Table(datasets, rows, tuple(_notes(datasets, rows)))


def _entry(row: Any, of_paper: float | None) -> Entry:
    if row is None:
        return Entry(of_paper)
    mean, high = (None if pd.isna(row[key]) else 100 * row[key] for key in ("mean", "ci_high"))
    half = None if high is None or mean is None else high - mean
    return Entry(of_paper, mean, half, int(row["n"]), int(row["n_diverged"]))


def _notes(datasets: tuple[str, ...], rows: dict[str, dict[str, Entry]]) -> list[str]:
    notes = ["Test accuracy of the last epoch in %: mean over n seeds ± half of its 95 % t-interval."]
    entries = [entry for row in rows.values() for entry in row.values()]
    if any(entry.n - entry.n_diverged == 1 for entry in entries):
        notes.append("With one finished seed there is no interval.")
    if any(entry.n_diverged for entry in entries):
        notes.append("Seeds that diverged are counted in n and are not in the mean.")
    without = [name for name in datasets if all(row[name].paper is None for row in rows.values())]
    if without:
        notes.append(f"The paper gives no number for {', '.join(without)} as configured here.")
    if len(without) < len(datasets):
        notes.extend(paper.NOTES)
    return notes


def to_markdown(table: Table) -> str:
    """A Markdown table and its notes, the best of each column in bold."""
    heads = ["Method", *(f"{name}: {what}" for name in table.datasets for what in ("paper", "ours", "n"))]
    lines = ["| " + " | ".join(heads) + " |", "|:--" + "|--:" * (len(heads) - 1) + "|"]
    for cells in _texts(table, "±", lambda text: f"**{text}**"):
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A tabular for booktabs and its notes, the best of each column in bold."""
    spans = " & ".join(rf"\multicolumn{{3}}{{c}}{{{_escape(name)}}}" for name in table.datasets)
    rules = " ".join(rf"\cmidrule(lr){{{3 * i + 2}-{3 * i + 4}}}" for i in range(len(table.datasets)))
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'rrr' * len(table.datasets)}}}",
        r"\toprule",
        rf" & {spans} \\",
        rules,
        "Method" + " & Paper & Ours & $n$" * len(table.datasets) + r" \\",
        r"\midrule",
    ]
    for name, *cells in _texts(table, r"$\pm$", lambda text: rf"\textbf{{{text}}}"):
        lines.append(" & ".join([_escape(name), *(cell.replace(NONE, "--") for cell in cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = " ".join(_escape(note).replace("±", r"$\pm$") for note in table.notes)
    return "\n".join([*lines, rf"\par\smallskip{{\footnotesize {notes}\par}}", ""])


def to_csv(table: Table) -> str:
    """One line per data set and label; numbers in percent."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["dataset", "label", "paper", "mean", "half_interval", "n", "n_diverged"])
    for dataset in table.datasets:
        for label, row in table.rows.items():
            entry = row[dataset]
            ours = ["" if value is None else f"{value:.4f}" for value in (entry.mean, entry.half)]
            writer.writerow(
                [dataset, label, _paper(entry).replace(NONE, ""), *ours, entry.n, entry.n_diverged]
            )
    return out.getvalue()


def write(table: Table, stem: str | Path) -> None:
    """Write `<stem>.md`, `.tex` and `.csv`."""
    path = Path(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("md", to_markdown(table)), ("tex", to_latex(table)), ("csv", to_csv(table))):
        write_text(path.with_name(f"{path.name}.{suffix}"), text)


def _texts(table: Table, plus_minus: str, bold: Callable[[str], str]) -> list[list[str]]:
    """The cells of each row, the label first."""
    lines = []
    for label, row in table.rows.items():
        cells = [label]
        for dataset in table.datasets:
            entry = row[dataset]
            column = [other[dataset] for other in table.rows.values()]
            ours = NONE if entry.mean is None else f"{entry.mean:.2f}"
            if entry.half is not None:
                ours += f" {plus_minus} {entry.half:.2f}"
            diverged = f" ({entry.n_diverged} diverged)" if entry.n_diverged else ""
            of_paper = bold(_paper(entry)) if _best(entry.paper, [e.paper for e in column]) else _paper(entry)
            if _best(entry.mean, [e.mean for e in column]):
                ours = bold(ours)
            cells += [of_paper, ours, f"{entry.n}{diverged}"]
        lines.append(cells)
    return lines


def _paper(entry: Entry) -> str:
    return NONE if entry.paper is None else f"{entry.paper:g}"


def _best(value: float | None, column: list[float | None]) -> bool:
    """The highest of at least two numbers, as far as two decimals tell."""
    numbers = [round(number, 2) for number in column if number is not None]
    return value is not None and len(numbers) > 1 and round(value, 2) == max(numbers)


def _escape(text: str) -> str:
    symbols = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    symbols |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(symbols.get(character, character) for character in text)
