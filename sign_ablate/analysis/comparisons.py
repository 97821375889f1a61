"""Figures that compare cells: paired differences with intervals, and the phase diagram of the dither."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sign_ablate.analysis import style
from sign_ablate.analysis.notes import number_of_seeds
from sign_ablate.analysis.stats import paired_difference


def differences(
    runs: pd.DataFrame, dataset: str, reference: str, labels: Sequence[str] = (), title: str | None = None
) -> Figure:
    """Paired differences of test accuracy to a reference, in points, with 95 % t-intervals over seeds.

    Args:
        runs: rows of runs.parquet.
        dataset: label of the data set.
        reference: label of the cell that the others are compared with.
        labels: cells to show, from top to bottom; by default all.
        title: first line of the title.

    Raises:
        ValueError: if there is no cell to compare.
    """
    cells = runs[(runs["dataset"] == dataset) & (runs["label"] != reference)].drop_duplicates("label")
    order = [label for label in labels if label != reference] or list(cells["label"])
    cells = cells.set_index("label").reindex(order).dropna(subset=["optimizer"])
    if cells.empty:
        raise ValueError(f"no run to compare with {reference!r} on {dataset!r}; train another cell there")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.75 + 0.19 * len(cells)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="#000000", linewidth=0.8)
        counts = []
        for position, (label, cell) in enumerate(cells.iterrows()):
            found = paired_difference(runs, dataset, str(label), reference)
            colour = style.colour(style.kind(cell["optimizer"], cell["site"]))
            if found.mean is None:
                axes.text(0, position, " no common seed", fontsize=7, va="center", color=colour)
                continue
            counts.append(found.n)
            if found.low is not None and found.high is not None:
                axes.plot([100 * found.low, 100 * found.high], [position, position], color=colour)
            axes.plot(100 * found.mean, position, "o", color=colour, markersize=3.5)
        axes.set_yticks(range(len(cells)), [style.pretty(str(label)) for label in cells.index])
        axes.set_ylim(len(cells) - 0.4, -0.6)
        axes.set_xlabel(f"Test accuracy − that of {style.pretty(reference)} (points)")
        axes.grid(axis="y", visible=False)
        several = max(counts, default=0) > 1
        how = f"95 % t-intervals, {number_of_seeds(counts)}" if several else "one seed: no intervals"
        figure.suptitle(f"{title or f'Differences on {dataset}'}\npaired by seed, {how}", fontsize=8)
    return figure


def phase_diagram(
    runs: pd.DataFrame, dataset: str, title: str | None = None, relative: Sequence[str] = ()
) -> Figure:
    """Mean test accuracy by σ_0 = √α and δ, a panel per dithered method with several values of both.

    The column "0" is SignSGD-M with the same δ, where the campaign has it. A cell in which every seed
    diverged is empty.

    Args:
        runs: rows of runs.parquet.
        dataset: label of the data set.
        title: first line of the title.
        relative: methods whose σ is in units of rms(m).

    Raises:
        ValueError: if no dithered method has several α and several δ.
    """
    every = runs[runs["dataset"] == dataset].assign(acc=lambda t: 100 * t["final_test_acc"])
    clean = every[every["optimizer"] == "signsgd-m"].assign(alpha=0.0)
    found = []
    for method, of in every[every["optimizer"] == "dithered"].groupby("method", sort=False):
        if min(of["alpha"].nunique(), of["lr0"].nunique()) > 1:
            rows = pd.concat([clean[clean["lr0"].isin(of["lr0"])], of])
            found.append((method, rows.pivot_table("acc", "lr0", "alpha", aggfunc="mean")))
    if not found:
        raise ValueError(f"no dithered method on {dataset!r} has several alpha and lr; give both as lists")
    top = max(float(np.nanmax(table.to_numpy())) for _, table in found)
    low = max(top - 30, min(float(np.nanmin(table.to_numpy())) for _, table in found))
    with style.context():
        width = sum(0.8 + 0.42 * table.shape[1] for _, table in found)
        height = 1.1 + 0.27 * max(table.shape[0] for _, table in found)
        figure = Figure(figsize=(width, height), layout="constrained")
        for axes, (method, table) in zip(
            figure.subplots(1, len(found), squeeze=False).flat, found, strict=True
        ):
            axes.imshow(table.to_numpy(), cmap="cividis", vmin=low, vmax=top, aspect="auto", origin="lower")
            axes.set_xticks(
                range(table.shape[1]), [f"{math.sqrt(float(alpha)):.3g}" for alpha in table.columns]
            )
            axes.set_yticks(range(table.shape[0]), [f"{lr:g}" for lr in table.index])
            for (row, column), value in np.ndenumerate(table.to_numpy()):
                bright = value > (low + top) / 2
                text = "" if np.isnan(value) else f"{value:.1f}"
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="black" if bright else "white",
                )
            unit = " / rms(m)" if method in relative else ""
            axes.set_xlabel(f"σ{unit} at step 0 (0: no dither)")
            axes.set_ylabel("Step size δ")
            if len(found) > 1:
                axes.set_title(style.pretty(str(method)))
            axes.grid(visible=False)
        what = f"mean test accuracy (%) of {number_of_seeds(every.groupby('label')['seed'].nunique())}"
        figure.suptitle(f"{title or f'Dither and step size on {dataset}'}\n{what}", fontsize=8)
    return figure
