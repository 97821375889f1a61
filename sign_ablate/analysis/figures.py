"""The paper's figures 1 to 3, drawn from epochs.parquet, and the last epoch's accuracies with intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sign_ablate.analysis import style
from sign_ablate.analysis.notes import number_of_seeds
from sign_ablate.analysis.select import best_settings
from sign_ablate.analysis.stats import LEAST_FOR_INTERVAL
from sign_ablate.config.campaign import LEFT_OUT

#: colour of the switch's mark
MARK = "#b00020"


def dithering(
    epochs: pd.DataFrame,
    dataset: str,
    runs: pd.DataFrame | None = None,
    title: str | None = None,
    cells: Sequence[str] = (),
) -> Figure:
    """The paper's figure 1: dithered methods against clean SignSGD-M, SGD and Adam.

    Args:
        epochs: rows of epochs.parquet.
        dataset: label of the data set to draw.
        runs: rows of runs.parquet. If given, runs that diverged in their first epoch are counted, too.
        title: first line of the title.
        cells: labels to draw, by default those of all optimizers that the figure is about.
    """
    every = epochs if runs is None else runs
    chosen = [_of(frame, dataset, "dithering", cells) for frame in (epochs, every)]
    return _curves(chosen[0], chosen[1], title or f"Dithering on {dataset}", ())


def switching(
    epochs: pd.DataFrame,
    dataset: str,
    t_switch: int | None = None,
    runs: pd.DataFrame | None = None,
    title: str | None = None,
    cells: Sequence[str] = (),
) -> Figure:
    """The paper's figures 2 and 3: hybrids against SGD and SignSGD-M, each switch marked.

    Args:
        epochs: rows of epochs.parquet.
        dataset: label of the data set to draw.
        t_switch: draw only the hybrids with this T_switch, by default all of them.
        runs: as for `dithering`.
        title: first line of the title.
        cells: as for `dithering`.
    """
    every = epochs if runs is None else runs
    chosen = [_of(frame, dataset, "switching", cells, t_switch) for frame in (epochs, every)]
    marks = sorted({int(t) for t in chosen[1]["t_switch"].dropna()})
    return _curves(chosen[0], chosen[1], title or f"Switching to SGD on {dataset}", marks)


def accuracy_forest(summary: pd.DataFrame, dataset: str, title: str | None = None) -> Figure:
    """The last epoch's test accuracy of every cell with its interval, or with the range of two seeds.

    Raises:
        ValueError: if the data set has no cell.
    """
    cells = summary[summary["dataset"] == dataset].reset_index(drop=True)
    if cells.empty:
        known = ", ".join(summary["dataset"].unique())
        raise ValueError(f"dataset = {dataset!r}: has no cell; name one of {known}")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.65 + 0.17 * len(cells)), layout="constrained")
        axes = figure.add_subplot()
        low, high = _limits(100 * cells["mean"].dropna().to_numpy())
        for position, cell in enumerate(cells.to_dict("records")):
            colour = style.colour(style.kind(cell["optimizer"], cell["site"]))
            few = cell["n"] - cell["n_diverged"] < LEAST_FOR_INTERVAL
            ends = [100 * cell[key] for key in (("lowest", "highest") if few else ("ci_low", "ci_high"))]
            mean = 100 * cell["mean"]
            if not mean >= low:  # the mean is outside the axes, or NaN: say so in the figure
                text = "no seed finished" if np.isnan(mean) else f"← {mean:.1f} %"
                axes.text(low, position, f" {text}", color=colour, fontsize=7, va="center")
                continue
            axes.plot(ends, [position, position], color=colour, linewidth=1.4, solid_capstyle="butt")
            axes.plot(mean, position, "o", color=colour, markersize=3.5)
        names = [
            _counted(*cell) for cell in zip(cells["label"], cells["n"], cells["n_diverged"], strict=True)
        ]
        axes.set_yticks(range(len(cells)), names)
        axes.set_ylim(len(cells) - 0.4, -0.6)
        axes.set_xlim(low, high)
        axes.set_xlabel("Test accuracy (%)")
        axes.grid(axis="y", visible=False)
        figure.suptitle(f"{title or f'Last epoch on {dataset}'}\n{spread(cells)}", fontsize=8)
    return figure


def spread(cells: pd.DataFrame) -> str:
    """Number of seeds and meaning of the lines around the means, for a figure's title."""
    finished = cells["n"] - cells["n_diverged"]
    if finished.max() == 2:
        return _seeds(cells["n"], "range")
    return _seeds(cells["n"], "95 % t-interval") + (" (of two: range)" if 2 in set(finished) else "")


def _of(
    frame: pd.DataFrame, dataset: str, kind: str, cells: Sequence[str], t_switch: int | None = None
) -> pd.DataFrame:
    shown = frame["label"].isin(list(cells)) if cells else ~frame["optimizer"].isin(LEFT_OUT[kind])
    keep = (frame["dataset"] == dataset) & shown
    if t_switch is not None:
        keep &= frame["t_switch"].isna() | (frame["t_switch"] == t_switch)
    return frame[keep]


def _curves(epochs: pd.DataFrame, runs: pd.DataFrame, title: str, marks: Sequence[int]) -> Figure:
    runs = runs.drop_duplicates("run")
    if runs.empty:
        raise ValueError(f"{title}: no run to draw; is the data set's label right?")
    labels, selection = best_settings(epochs, runs)
    cells = runs.drop_duplicates("label").set_index("label").loc[labels].reset_index()
    looks = style.styles(cells)
    means = bands(epochs[epochs["label"].isin(labels)])
    with style.context():
        rows = -(-len(labels) // 2)
        figure = Figure(figsize=(style.WIDTH, 2.45 + 0.145 * rows), layout="constrained")
        axes = figure.add_subplot()
        for label in labels:
            _draw(axes, means[means["label"] == label], *looks[label])
            _draw_diverged(
                axes, epochs[(epochs["label"] == label) & (epochs["status"] == "diverged")], looks[label][0]
            )
        _finish(axes, means, epochs, marks)
        handles = [
            Line2D(
                [], [], color=colour, linestyle=dashes, label=_name(label, runs, means, axes.get_ylim()[0])
            )
            for label, (colour, dashes) in looks.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            handlelength=2.6,
            labelspacing=0.25,
        )
        counts = runs.groupby("label")["seed"].nunique().loc[labels]
        figure.suptitle(f"{title}\n{_seeds(counts, 'range')}{selection}", fontsize=8)
    return figure


def bands(epochs: pd.DataFrame) -> pd.DataFrame:
    """Per label and epoch, in percent: mean, lowest and highest of the finished seeds.

    The range and not the t-interval: with 3 seeds that is 2.5 standard deviations to either side, and
    ten such bands hide the curves. Intervals are in the table and in `accuracy_forest`.
    """
    finished = epochs[epochs["status"] == "finished"]
    grouped = finished.groupby(["label", "epoch"], sort=False)["test_acc"]
    table = grouped.agg(mean="mean", low="min", high="max").reset_index()
    table[["mean", "low", "high"]] *= 100
    return table


def _draw(axes: Axes, curve: pd.DataFrame, colour: str, dashes: style.Line) -> None:
    if curve.empty:
        return
    axes.fill_between(curve["epoch"], curve["low"], curve["high"], color=colour, alpha=0.12, linewidth=0)
    sns.lineplot(
        data=curve, x="epoch", y="mean", color=colour, linestyle=dashes, errorbar=None, legend=False, ax=axes,
        marker="o" if len(curve) == 1 else None,
    )  # fmt: skip


def _draw_diverged(axes: Axes, epochs: pd.DataFrame, colour: str) -> None:
    """Draw each diverged seed as a thin line that ends with a cross at its last complete epoch."""
    for _, run in epochs.groupby("run", sort=False):
        axes.plot(run["epoch"], 100 * run["test_acc"], color=colour, linewidth=0.6, alpha=0.7)
        axes.plot(run["epoch"].iloc[-1], 100 * run["test_acc"].iloc[-1], "x", color=colour, markersize=5)


def _finish(axes: Axes, means: pd.DataFrame, epochs: pd.DataFrame, marks: Sequence[int]) -> None:
    last = int(epochs["epoch"].max()) if len(epochs) else 1
    late = means[means["epoch"] > 0.25 * last]
    low, high = _limits(late["mean"].to_numpy())
    highest = late.loc[late["mean"] > low, "high"].max()  # NaN without a finished seed
    axes.set_ylim(low, np.fmax(high, highest + 0.02 * (high - low)))
    axes.set_xlim(min([1, *marks]) - 0.02 * last, last * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    above = axes.get_xaxis_transform()
    for i, mark in enumerate(marks):
        close = i % 2 and mark - marks[i - 1] < 0.25 * last  # side by side, the names would overlap
        axes.axvline(mark, color=MARK, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1, gid=f"switch-{mark}")
        name, height = rf"$T_\mathrm{{switch}}$ = {mark}", 1.08 if close else 1.01
        axes.text(mark, height, name, color=MARK, fontsize=6.5, ha="center", va="bottom", transform=above)
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Test accuracy (%)")


def _limits(means: np.ndarray) -> tuple[float, float]:
    """Limits of the accuracy axis that show differences near the top. Callers label curves below them."""
    if len(means) == 0:
        return 0.0, 100.0
    top = float(means.max())
    room = max(3 * (top - float(np.median(means))), 4.0)
    low = max(float(means.min()) - 0.5, top - room, 0.0)
    return low, min(top + 0.12 * (top - low), 100.0 + 0.02 * (top - low))


def _name(label: str, runs: pd.DataFrame, means: pd.DataFrame, low: float) -> str:
    """Entry of the legend. It mentions diverged seeds, and the final mean if that is below the axis."""
    members = runs[runs["label"] == label]
    name = _counted(label, len(members), int((members["status"] == "diverged").sum()))
    curve = means[means["label"] == label]
    if len(curve) and curve["mean"].iloc[-1] < low:
        name += f" (ends at {curve['mean'].iloc[-1]:.1f} %)"
    return name


def _counted(label: str, n: int, diverged: int) -> str:
    return style.pretty(label) + (f" ({diverged} of {n} diverged)" if diverged else "")


def _seeds(counts: "pd.Series[int]", spread: str) -> str:
    return f"mean and {spread} of {number_of_seeds(counts)}" if counts.max() > 1 else f"one seed: no {spread}"
