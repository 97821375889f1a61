"""Figures of several workers: accuracy against their number, and against the share of adversaries."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sign_ablate.analysis import style
from sign_ablate.analysis.figures import spread
from sign_ablate.analysis.stats import LEAST_FOR_INTERVAL
from sign_ablate.campaign.grid import expand
from sign_ablate.config.campaign import Campaign, RunConfig
from sign_ablate.data.shape import counts_of

#: line of a method with one worker, by the style's name
ALONE = "alone"
#: points of accuracy above chance below which the axis begins at chance
_NEAR_CHANCE = 15


@dataclasses.dataclass(frozen=True)
class Series:
    """Cells that a line connects.

    Attributes:
        kind: the style's name of its colour.
        cells: position on the x-axis → label of the cell.
    """

    kind: str
    cells: Mapping[float, str]


def accuracy_by_workers(
    summary: pd.DataFrame,
    campaign: Campaign,
    dataset: str,
    title: str | None = None,
    shown: Collection[str] = (),
) -> Figure:
    """Test accuracy after the last epoch against the number of workers W, a line per method.

    A method with one worker and several batch sizes b is drawn at W = B/b, with B the batch of the others: a
    single one of W workers.

    Args:
        summary: rows of summary.parquet.
        campaign: the campaign.
        dataset: label of the data set.
        title: first line of the title.
        shown: labels of the cells to show; all if empty.

    Raises:
        ValueError: if no method has several numbers of workers.
    """
    cells = _cells(campaign, dataset, shown)
    series = _series(cells, "workers")
    if not series:
        raise ValueError(f"no method on {dataset!r} has several numbers of workers")
    batches = {cells[label].train.batch_size for line in series.values() for label in line.cells.values()}
    single = {label: config for label, config in cells.items() if config.train.workers == 1}
    for name, line in _series(single, "batch_size").items():
        places = {max(batches) / size: label for size, label in sorted(line.cells.items(), reverse=True)}
        series[f"{name}: one worker with B/W images"] = Series(ALONE, places)
    with style.context():
        figure, axes = _drawn(
            series, summary, campaign, dataset, title or f"Several workers on {dataset}",
            dodged=lambda x, side: x * 2 ** (0.7 * side),
        )  # fmt: skip
        numbers = sorted({x for line in series.values() for x in line.cells})
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [f"{x:g}" for x in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Number of workers W")
        if len(batches) == 1:
            above = axes.secondary_xaxis("top")
            above.set_xticks(numbers, [f"{max(batches) / x:g}" for x in numbers])
            above.xaxis.set_minor_locator(NullLocator())
            above.set_xlabel(f"Images per worker and step, of B = {max(batches)}", fontsize=7)
            above.tick_params(labelsize=7)
    return figure


def accuracy_by_adversaries(
    summary: pd.DataFrame,
    campaign: Campaign,
    dataset: str,
    title: str | None = None,
    shown: Collection[str] = (),
) -> Figure:
    """Test accuracy after the last epoch against the share of adversaries, a line per method.

    A line begins at the cell without adversaries and otherwise equal to its others, if the campaign has it.

    Args:
        summary: rows of summary.parquet.
        campaign: the campaign.
        dataset: label of the data set.
        title: first line of the title.
        shown: labels of the cells to show; all if empty.

    Raises:
        ValueError: if no method has several shares of adversaries.
    """
    cells = _cells(campaign, dataset, shown)
    honest = {
        _without_adversaries(config): label
        for label, config in cells.items()
        if not config.train.adversary_count
    }
    series, found = {}, []
    for name, line in _series(cells, "adversaries").items():
        configs = [cells[label] for label in line.cells.values()]
        places = {
            100 * config.train.adversary_count / config.train.workers: label
            for config, label in zip(configs, line.cells.values(), strict=True)
        }
        if (label := honest.get(_without_adversaries(configs[0]))) is not None:
            places = {0.0: label, **places}
        series[name] = Series(line.kind, places)
        found += [config.train for config in configs if config.train.adversary_count]
    if not series:
        raise ValueError(f"no method on {dataset!r} has several shares of adversaries")
    with style.context():
        figure, axes = _drawn(
            series, summary, campaign, dataset, title or f"Adversaries on {dataset}",
            dodged=lambda x, side: x + 2 * side,
        )  # fmt: skip
        axes.axvline(50, color="#7f7f7f", linestyle=(0, (4, 2)), linewidth=0.8, zorder=1)
        axes.set_xlim(-2, 52)
        above = axes.get_xaxis_transform()
        axes.text(50, 1.01, "half", fontsize=6.5, color="#5a5a5a", ha="center", va="bottom", transform=above)
        acts = {"invert": "invert their gradient", "random": "send random signs"}
        act = " or ".join(dict.fromkeys(acts[train.adversary] for train in found))
        counts = sorted({train.workers for train in found})
        of = f"{counts[0]}" if len(counts) == 1 else "the"
        axes.set_xlabel(f"Share of {of} workers that {act} (%)")
    return figure


def _cells(campaign: Campaign, dataset: str, shown: Collection[str]) -> dict[str, RunConfig]:
    """Label → configuration with one of its seeds, of the cells to show; of all if none is named."""
    found = {run.cell.label: run.config for run in expand(campaign) if run.cell.dataset == dataset}
    return {label: config for label, config in found.items() if not shown or label in shown}


def _series(cells: Mapping[str, RunConfig], key: str) -> dict[str, Series]:
    """Lines over a training option: cells whose labels differ only in its value."""
    found: dict[str, dict[float, str]] = {}
    for label, config in cells.items():
        name = " ".join(word for word in label.split(" ") if not word.startswith(f"{key}="))
        found.setdefault(name, {})[getattr(config.train, key)] = label
    return {
        name: Series(_kind(cells[next(iter(places.values()))]), places)
        for name, places in found.items()
        if len(places) > 1
    }


def _kind(config: RunConfig) -> str:
    train = config.train
    if train.aggregation == "mean":
        return config.method.optimizer
    return f"dithered-{train.aggregation}" if train.worker_alpha else train.aggregation


def _without_adversaries(config: RunConfig) -> str:
    train = config.train.model_copy(update={"adversaries": 0.0, "adversary": "invert"})
    return f"{config.method.model_dump_json()} {train.model_dump_json()}"


def _drawn(
    series: Mapping[str, Series],
    summary: pd.DataFrame,
    campaign: Campaign,
    dataset: str,
    title: str,
    dodged: Callable[[float, float], float],
) -> tuple[Figure, Axes]:
    """Figure of the lines with their intervals and legend; the x-axis is left to the caller.

    `dodged` moves a position to one side, from −0.5 for the first line to 0.5 for the last, since
    intervals of several lines would hide each other.
    """
    table = summary[summary["dataset"] == dataset].set_index("label", drop=False)
    kinds = [line.kind for line in series.values()]
    looks = style.styles(pd.DataFrame({"label": list(series), "optimizer": kinds, "site": None}))
    figure = Figure(figsize=(style.WIDTH, 3.0 + 0.145 * -(-len(series) // 2)), layout="constrained")
    axes = figure.add_subplot()
    handles, shown = [], []
    sides = np.linspace(-0.5, 0.5, len(series)) if len(series) > 1 else [0.0]
    for side, (name, line) in zip(sides, series.items(), strict=True):
        rows = table.reindex(list(line.cells.values()))
        shown.append(rows)
        colour, dashes = looks[name]
        if line.kind == ALONE:
            dashes = style.DASHES[1]
        _draw(axes, [dodged(x, float(side)) for x in line.cells], rows, colour, dashes)
        handles.append(
            Line2D([], [], color=colour, linestyle=dashes, marker="o", markersize=3, label=_name(name, rows))
        )
    drawn = pd.concat(shown)
    chance = _chance(campaign, dataset)
    if chance is not None and 100 * drawn["mean"].min() < chance + _NEAR_CHANCE:
        axes.axhline(chance, color="#7f7f7f", linestyle=(0, (1, 1)), linewidth=0.9, zorder=1)
        beside = axes.get_yaxis_transform()
        axes.text(0.01, chance, "chance", fontsize=6.5, color="#5a5a5a", va="bottom", transform=beside)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.02 * (high - low)), min(high, 100 + 0.02 * (high - low)))
    axes.set_ylabel("Test accuracy (%)")
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, labelspacing=0.25)
    level = "" if chance is None else f"; chance: {chance:.3g} %"
    figure.suptitle(f"{title}\n{spread(drawn)}{level}", fontsize=8)
    return figure, axes


def _draw(axes: Axes, places: list[float], rows: pd.DataFrame, colour: str, dashes: style.Line) -> None:
    means = 100 * rows["mean"].to_numpy(float)
    axes.plot(places, means, color=colour, linestyle=dashes, marker="o", markersize=3)
    few = (rows["n"] - rows["n_diverged"] < LEAST_FOR_INTERVAL).to_numpy()
    low, high = (
        100 * np.where(few, rows[of_few].to_numpy(float), rows[of_more].to_numpy(float))
        for of_few, of_more in (("lowest", "ci_low"), ("highest", "ci_high"))
    )
    axes.vlines(places, low, high, color=colour, linewidth=0.9, alpha=0.8)
    lost = [x for x, mean, n in zip(places, means, rows["n"], strict=True) if n > 0 and np.isnan(mean)]
    axes.plot(lost, [0.02] * len(lost), "x", color=colour, markersize=5, transform=axes.get_xaxis_transform())


def _name(name: str, rows: pd.DataFrame) -> str:
    """Entry of the legend, with diverged seeds, and the range of n where cells have different numbers."""
    counts: Any = rows["n"].fillna(0)
    notes = []
    if counts.min() < counts.max():
        notes.append(f"n = {counts.min():.0f} to {counts.max():.0f}")
    if diverged := rows["n_diverged"].sum():
        notes.append(f"{diverged:.0f} of {counts.sum():.0f} diverged")
    return style.pretty(name) + (f" ({', '.join(notes)})" if notes else "")


def _chance(campaign: Campaign, dataset: str) -> float | None:
    """Accuracy of a guess among the classes in percent; None for an image folder that cannot be read."""
    counts = counts_of(campaign.datasets[dataset])
    return None if counts is None else 100 / len(counts.test)
