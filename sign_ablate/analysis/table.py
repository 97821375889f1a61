"""Table I: the paper's accuracy and ours, per cell and data set, as Markdown, LaTeX and CSV."""

import csv
import dataclasses
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sign_ablate.analysis import notes, paper
from sign_ablate.analysis.schemas import CAMPAIGN
from sign_ablate.analysis.stats import LEAST_FOR_INTERVAL
from sign_ablate.campaign.grid import expand, left_out
from sign_ablate.config.campaign import Campaign
from sign_ablate.store.record import read_json
from sign_ablate.store.run_files import write_text

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Entry:
    """Accuracies of a cell in percent. A missing number is None."""

    paper: float | None = None
    mean: float | None = None
    #: half-width of the t-interval of the mean; None with fewer than three finished seeds
    half: float | None = None
    lowest: float | None = None
    highest: float | None = None
    n: int = 0
    n_diverged: int = 0

    @property
    def finished(self) -> int:
        """Number of finished seeds, over which the mean is computed."""
        return self.n - self.n_diverged


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows are labels in campaign order, with an entry for each data set."""

    datasets: tuple[str, ...]
    rows: dict[str, dict[str, Entry]]
    notes: tuple[str, ...]

    @property
    def without_paper(self) -> tuple[str, ...]:
        """Data sets for which the paper has no number in any row, and which have no column for it."""
        return tuple(
            name for name in self.datasets if all(row[name].paper is None for row in self.rows.values())
        )


def read_campaign(path: str | Path) -> Campaign:
    """Read the campaign from a campaign.json, or from the folder that contains it.

    Raises:
        DamagedError: the file is not as `aggregate` wrote it.
    """
    path = Path(path)
    return read_json(
        path / CAMPAIGN if path.is_dir() else path, Campaign, "delete it and run snakemake again"
    )


def table1(summary: pd.DataFrame, campaign: Campaign, times: pd.DataFrame | None = None) -> Table:
    """Build Table I of a campaign.

    Args:
        summary: rows of summary.parquet.
        campaign: the campaign that it was made from.
        times: rows of times.parquet. If given, a note warns of runs made by different code.
    """
    found = {(row["dataset"], row["label"]): row for row in summary.to_dict("records")}
    rows: dict[str, dict[str, Entry]] = {}
    runs = expand(campaign)
    for run in runs:
        dataset, label = run.cell.dataset, run.cell.label
        entries = rows.setdefault(label, {})
        if dataset not in entries:
            entries[dataset] = _entry(found.get((dataset, label)), paper.paper_accuracy(run.config))
    for entries in rows.values():  # a cell may be left out on one data set only
        entries |= {dataset: Entry(None) for dataset in campaign.datasets if dataset not in entries}
    table = Table(tuple(campaign.datasets), rows, ())
    of_runs = [
        left_out(campaign),
        notes.incomplete(summary, len(runs)),
        "" if times is None else notes.different_code(times),
    ]
    return dataclasses.replace(table, notes=(*_notes(table), *filter(None, of_runs)))


def _entry(row: Any, of_paper: float | None) -> Entry:
    if row is None:
        return Entry(of_paper)
    mean, end, lowest, highest = (
        None if pd.isna(row[key]) else 100 * row[key] for key in ("mean", "ci_high", "lowest", "highest")
    )
    n, n_diverged = int(row["n"]), int(row["n_diverged"])
    half = None
    if n - n_diverged >= LEAST_FOR_INTERVAL and mean is not None and end is not None:
        half = end - mean
    return Entry(of_paper, mean, half, lowest, highest, n, n_diverged)


def _notes(table: Table) -> list[str]:
    entries = [entry for row in table.rows.values() for entry in row.values()]
    half = " ± half of its 95 % t-interval" if any(entry.half is not None for entry in entries) else ""
    found = [f"Test accuracy of the last epoch in %: mean over n seeds{half}."]
    if any(entry.finished == 2 for entry in entries):
        found.append(
            "With two finished seeds, the brackets hold their two values: a 95 % t-interval of two values "
            "reaches nine standard deviations to either side."
        )
    if any(entry.finished == 1 for entry in entries):
        found.append("With one finished seed there is no interval.")
    if any(entry.n_diverged for entry in entries):
        found.append("Seeds that diverged are counted in n and are not in the mean.")
    if table.without_paper:
        found.append(f"The paper gives no number for {', '.join(table.without_paper)} as configured here.")
    if len(table.without_paper) < len(table.datasets):
        found.extend(paper.NOTES)
    return found


def to_markdown(table: Table) -> str:
    """Format as a Markdown table with notes. The best value of each column is bold."""
    heads = ["Method", *(f"{name}: {what}" for name in table.datasets for what in _columns(table, name))]
    lines = ["| " + " | ".join(heads) + " |", "|:--" + "|--:" * (len(heads) - 1) + "|"]
    for cells in _texts(table, "±", lambda text: f"**{text}**"):
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """Format as a LaTeX tabular (booktabs) with notes. The best value of each column is bold."""
    columns = [_columns(table, name) for name in table.datasets]
    ends = list(itertools.accumulate(map(len, columns), initial=1))
    spans = " & ".join(
        rf"\multicolumn{{{len(names)}}}{{c}}{{{_escape(dataset)}}}"
        for dataset, names in zip(table.datasets, columns, strict=True)
    )
    rules = " ".join(rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in itertools.pairwise(ends))
    heads = [{"paper": "Paper", "ours": "Ours", "n": "$n$"}[name] for name in itertools.chain(*columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        rf" & {spans} \\",
        rules,
        " & ".join(["Method", *heads]) + r" \\",
        r"\midrule",
    ]
    for name, *cells in _texts(table, r"$\pm$", lambda text: rf"\textbf{{{text}}}"):
        lines.append(" & ".join([_escape(name), *(cell.replace(NONE, "--") for cell in cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = " ".join(_escape(note).replace("±", r"$\pm$") for note in table.notes)
    return "\n".join([*lines, rf"\par\smallskip{{\footnotesize {notes}\par}}", ""])


def to_csv(table: Table) -> str:
    """Format as CSV, one line per data set and label, in percent. All campaigns have the same columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["dataset", "label", "paper", "mean", "half_interval", "lowest", "highest", "n", "n_diverged"]
    )
    for dataset in table.datasets:
        for label, row in table.rows.items():
            entry = row[dataset]
            numbers = (entry.mean, entry.half, entry.lowest, entry.highest)
            ours = ["" if value is None else f"{value:.4f}" for value in numbers]
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


def _columns(table: Table, dataset: str) -> list[str]:
    return ["ours", "n"] if dataset in table.without_paper else ["paper", "ours", "n"]


def _texts(table: Table, plus_minus: str, bold: Callable[[str], str]) -> list[list[str]]:
    """Texts of the cells of each row, starting with the label."""
    lines = []
    for label, row in table.rows.items():
        cells = [label]
        for dataset in table.datasets:
            entry = row[dataset]
            column = [other[dataset] for other in table.rows.values()]
            of_paper, ours = _paper(entry), _ours(entry, plus_minus)
            if _best(entry.paper, [e.paper for e in column]):
                of_paper = bold(of_paper)
            if _best(entry.mean, [e.mean for e in column]):
                ours = bold(ours)
            diverged = f" ({entry.n_diverged} diverged)" if entry.n_diverged else ""
            texts = {"paper": of_paper, "ours": ours, "n": f"{entry.n}{diverged}"}
            cells += [texts[name] for name in _columns(table, dataset)]
        lines.append(cells)
    return lines


def _ours(entry: Entry, plus_minus: str) -> str:
    if entry.mean is None:
        return NONE
    if entry.half is not None:
        return f"{entry.mean:.2f} {plus_minus} {entry.half:.2f}"
    spread = f" [{entry.lowest:.2f}, {entry.highest:.2f}]" if entry.finished > 1 else ""
    return f"{entry.mean:.2f}{spread}"


def _paper(entry: Entry) -> str:
    return NONE if entry.paper is None else f"{entry.paper:g}"


def _best(value: float | None, column: list[float | None]) -> bool:
    """Return True if `value`, rounded to two decimals, is the highest of at least two numbers."""
    numbers = [round(number, 2) for number in column if number is not None]
    return value is not None and len(numbers) > 1 and round(value, 2) == max(numbers)


def _escape(text: str) -> str:
    symbols = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    symbols |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(symbols.get(character, character) for character in text)
