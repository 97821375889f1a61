"""The ledger's first screen as a figure: a summary, and the rows with an inline forest plot."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from sign_ablate.analysis import style
from sign_ablate.claims.merge import is_measured
from sign_ablate.claims.outcome import SMALL
from sign_ablate.claims.page import COLOURS, numbers
from sign_ablate.claims.table import Row

#: width and height of a row, in inches
WIDTH, ROW = 9.0, 0.225
#: half-width of the forest in margins
REACH = 6.0
#: horizontal positions of the columns, from 0 to 100
_VERDICT, _BOX, _FOREST, _EFFECT, _N = 42.3, 14.2, (57.0, 73.0), 74.0, 99.0
_CHARACTERS = 145


def first_screen(rows: Sequence[Row], sentence: str) -> Figure:
    """Draw the measured claims, apart from those that the theory lab decides.

    Args:
        rows: rows of the ledger.
        sentence: text above them.

    Raises:
        ValueError: if no claim is measured.
    """
    shown = [row for row in rows if is_measured(row) and row["comparison"] != "theory"]
    if not shown:
        raise ValueError("no claim to draw: none is measured")
    families = [(name, list(of)) for name, of in itertools.groupby(shown, lambda row: row["family"])]
    words = textwrap.wrap(sentence, _CHARACTERS)
    lines = len(words) + 1 + len(families) + len(shown)
    with style.context():
        figure = Figure(figsize=(WIDTH, ROW * (lines + 1)))
        axes = figure.add_axes((0.01, 0.0, 0.98, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0, 100)
        axes.set_ylim(lines + 0.5, -0.5)
        for line, text in enumerate(words):
            axes.text(0, line, text, va="center", fontsize=8.5)
        line = len(words) + 1
        given: dict[str, Any] = {"va": "center", "fontsize": 6.5, "color": "#555555"}
        axes.text(
            _place(0),
            line - 1,
            f"effect ÷ margin, −{REACH:.0f} to {REACH:.0f}; grey: ± margin; small: {SMALL}",
            ha="center",
            **given,
        )
        several = len({row["dataset"] for row in shown} - {None}) > 1
        for name, of in families:
            axes.text(0, line, name, va="center", fontsize=8, fontweight="bold")
            axes.axhline(line + 0.5, color="#888888", linewidth=0.6)
            for row in of:
                line += 1
                _row(axes, line, row, several)
            line += 1
    return figure


def _row(axes: Axes, y: float, row: Row, several: bool) -> None:
    colour = COLOURS[row["proxy_verdict"] or row["verdict"]]
    where = f" ({row['dataset']})" if several and row["dataset"] else ""
    axes.text(0.5, y, f"{row['title']}{where}", va="center", fontsize=7.5)
    _verdict(axes, y, row, colour)
    _forest(axes, y, row, colour)
    if row["effect"] is not None:
        axes.text(_EFFECT, y, numbers(row), va="center", fontsize=7)
    axes.text(_N, y, f"n = {row['n']}" if row["n"] else "", va="center", ha="right", fontsize=7)


def _verdict(axes: Axes, y: float, row: Row, colour: str) -> None:
    """The verdict in a filled box; that of a proxy in a box with a border."""
    is_proxy = row["proxy_verdict"] is not None
    box = FancyBboxPatch(
        (_VERDICT, y - 0.33), _BOX, 0.66, boxstyle="round,pad=0,rounding_size=0.2", linewidth=0.8,
        edgecolor=colour, facecolor="#ffffff" if is_proxy else colour,
    )  # fmt: skip
    axes.add_patch(box)
    text = f"proxy: {row['proxy_verdict']}" if is_proxy else row["verdict"]
    if SMALL in (row["reason"] or ""):
        text += ", small"
    axes.text(
        _VERDICT + _BOX / 2,
        y,
        text,
        va="center",
        ha="center",
        fontsize=7,
        color=colour if is_proxy else "white",
    )


def _forest(axes: Axes, y: float, row: Row, colour: str) -> None:
    """Intervals in margins, thick for new seeds, thin for new seeds and test images. Grey: ± the margin."""
    if row["low"] is None or not row["margin"]:
        return
    left, right = _place(-1), _place(1)
    axes.add_patch(Rectangle((left, y - 0.5), right - left, 1, facecolor="#e8e8e8", linewidth=0))
    axes.plot([_place(0)] * 2, [y - 0.5, y + 0.5], color="#888888", linewidth=0.6)
    for keys, width in ((("image_low", "image_high"), 0.8), (("low", "high"), 2.2)):
        if row[keys[0]] is not None:
            axes.plot(
                [_place(row[key] / row["margin"]) for key in keys], [y, y], color=colour, linewidth=width
            )
    effect = row["effect"] / row["margin"]
    marker = "o" if abs(effect) <= REACH else (">" if effect > 0 else "<")
    axes.plot(_place(effect), y, marker, color=colour, markersize=4)


def _place(margins: float) -> float:
    """Horizontal position of a number of margins, at the edge of the forest if it lies outside."""
    low, high = _FOREST
    inside = max(-REACH, min(REACH, margins))
    return (low + high) / 2 + (high - low) / 2 * inside / REACH
