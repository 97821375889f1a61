"""Texts on the runs behind tables and figures: missing or damaged ones, different code, numbers of seeds."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def incomplete(summary: "pd.DataFrame", total: int) -> str:
    """Sentence about missing and damaged runs, empty if there are none.

    Args:
        summary: rows of summary.parquet.
        total: number of the campaign's runs.
    """
    missing, damaged = total - int(summary["n"].sum()), int(summary["n_damaged"].sum())
    if not missing:
        return ""
    verb = "is" if missing == 1 else "are"
    return f"Partial: {missing} of {total} runs {verb} missing" + (
        f", {damaged} of them damaged." if damaged else "."
    )


def different_code(times: "pd.DataFrame") -> str:
    """Warning that runs were made by different code, empty if all were made by the same.

    Runs without a recorded fingerprint count as made by one further version of the code.

    Args:
        times: rows of times.parquet.
    """
    pairs = list(zip(times["code"].fillna("unknown code"), times["method"], strict=True))
    counts = Counter(code for code, _ in pairs)
    if len(counts) < 2:
        return ""
    (usual, n), *others = counts.most_common()
    parts = [f"{_runs(n)} by {usual}"]
    for code, n in others:
        parts.append(f"{_runs(n)} by {code} ({_names(method for c, method in pairs if c == code)})")
    return (
        f"Runs were made by different code, which may explain differences between them. By fingerprint: "
        f"{', '.join(parts)}. The command sign-ablate outdated lists the runs of other code than today's."
    )


def number_of_seeds(counts: Iterable[int]) -> str:
    """Number of seeds, such as "8 seeds", or "1 to 8 seeds" where cells have different numbers.

    Args:
        counts: number of seeds of each cell, at least one cell.
    """
    different = sorted(set(counts))
    least, most = different[0], different[-1]
    return f"{most} seed{'' if most == 1 else 's'}" if least == most else f"{least} to {most} seeds"


def _runs(n: int) -> str:
    return f"{n} run{'' if n == 1 else 's'}"


def _names(methods: Iterable[str], most: int = 3) -> str:
    names = list(dict.fromkeys(methods))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
