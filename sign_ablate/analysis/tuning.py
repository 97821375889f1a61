"""Figures of the search: expected best accuracy by budget, and sensitivity to one option."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sign_ablate.analysis import style
from sign_ablate.campaign.cells import templates
from sign_ablate.config.campaign import Campaign
from sign_ablate.config.tuning import Choice
from sign_ablate.tuning.choice import EDGE, expected_best

#: percentage points that are shown below a choice
ROOM = 10.0
#: distance to the best choice, in points, beyond which a choice is outside of a figure of all cells
FAR = 10.0
_COLUMNS = 3
_MARKS = "filled: chosen; triangle: below the axis; cross: diverged; grey: outer tenth of the range"


def budget_curves(choices: Mapping[str, Choice], campaign: Campaign, title: str) -> Figure:
    """Expected best validation accuracy of b trials, exact over the trials that were made.

    A cell whose choice is far below the best one is named with its accuracy, and not drawn to scale.

    Args:
        choices: label of a cell → its choice, on one data set.
        campaign: the campaign.
        title: title of the figure.
    """
    looks = style.styles(_cells(choices, campaign))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.3 + 0.145 * -(-len(choices) // 2)), layout="constrained")
        axes = figure.add_subplot()
        for label, (colour, dashes) in looks.items():
            scores = [trial.val_acc for trial in choices[label].trials]
            budgets = range(1, len(scores) + 1)
            best = [100 * (expected_best(scores, budget) or 0.0) for budget in budgets]
            axes.plot(budgets, best, color=colour, linestyle=dashes)
        low = _limit(axes, choices)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Trials")
        axes.set_ylabel("Expected best\nvalidation accuracy (%)")
        handles = [
            Line2D([], [], color=colour, linestyle=dashes, label=_name(label, choices[label], low))
            for label, (colour, dashes) in looks.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, labelspacing=0.25)
        figure.suptitle(title, fontsize=8)
    return figure


def sensitivity(choices: Mapping[str, Choice], campaign: Campaign, title: str, key: str = "lr") -> Figure:
    """Validation accuracy of every trial against the value of one option, a panel per cell.

    Each panel begins 10 points below its choice, which is the filled point. A triangle is a trial below the
    axis, a cross one that diverged. The outer tenth of the range, where a choice is not final, is grey.

    Args:
        choices: label of a cell → its choice, on one data set. Cells without `key` are left out.
        campaign: the campaign.
        title: title of the figure.
        key: the option.
    """
    shown = {label: choice for label, choice in choices.items() if key in choice.ranges}
    looks = style.styles(_cells(shown, campaign))
    rows = -(-len(shown) // _COLUMNS)
    with style.context():
        figure = Figure(figsize=(2 * style.WIDTH, 0.6 + 1.3 * rows), layout="constrained")
        panels = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
        for panel, (label, choice) in zip(panels, shown.items(), strict=False):
            low = _limit(panel, shown if choice.val_acc is None else {label: choice})
            _trials(panel, choice, key, looks[label][0], low)
            panel.set_title(style.pretty(label))
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        figure.supxlabel(key, fontsize=8)
        figure.supylabel("Validation accuracy (%)", fontsize=8)
        figure.suptitle(f"{title}\n{_MARKS}", fontsize=8)
    return figure


def _trials(axes: Axes, choice: Choice, key: str, colour: str, lowest: float) -> None:
    low, high = choice.ranges[key]
    inner = [low * (high / low) ** EDGE, high / (high / low) ** EDGE]
    for start, end in ((low, inner[0]), (inner[1], high)):
        axes.axvspan(start, end, color="#000000", alpha=0.08, linewidth=0)
    for trial in choice.trials:
        score = -math.inf if trial.val_acc is None else 100 * trial.val_acc
        marker = "x" if trial.val_acc is None else "v" if score < lowest else "o"
        fill: Any = "full" if trial.values == choice.values else "none"
        axes.plot(
            trial.values[key],
            max(score, lowest),
            marker,
            color=colour,
            markersize=4,
            fillstyle=fill,
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.set_xlim(low, high)


def _name(label: str, choice: Choice, low: float) -> str:
    """Name of a cell in a legend, with its accuracy if it lies below the axis."""
    best = 100 * (choice.val_acc or 0.0)
    return style.pretty(label) + (f" (ends at {best:.1f} %)" if best < low else "")


def _limit(axes: Axes, choices: Mapping[str, Choice]) -> float:
    """Set the limits of the accuracy axis, and return the lower one: 10 points below the choices."""
    best = [100 * choice.val_acc for choice in choices.values() if choice.val_acc is not None]
    top = max(best, default=0.0)
    low = max(min((score for score in best if score >= top - FAR), default=0.0) - ROOM, 0.0)
    axes.set_ylim(low, top + 1)
    return low


def _cells(choices: Mapping[str, Choice], campaign: Campaign) -> pd.DataFrame:
    """Label, optimizer and site of the cells, in the order of the campaign."""
    found = [t for t in templates(campaign) if t.label in choices]
    return pd.DataFrame(
        {
            "label": [t.label for t in found],
            "optimizer": [t.optimizer for t in found],
            "site": [t.own.get("site") for t in found],
        }
    )
