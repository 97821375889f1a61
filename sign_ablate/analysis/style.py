"""Style of figures: one colour per kind of method in all figures, readable at a paper's column width."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

Line = tuple[float, tuple[float, ...]]

#: one column of a two-column paper, in inches
WIDTH = 3.5
#: pixels per inch of a PNG
DPI = 300

#: Okabe and Ito's colours, distinguishable with any colour vision, and two of Paul Tol's.
COLOURS = {
    "sgd": "#000000",
    "adam": "#cc79a7",
    "signsgd": "#56b4e9",
    "signsgd-m": "#0072b2",
    "dithered-pre": "#d55e00",
    "dithered-post": "#009e73",
    "hybrid": "#e69f00",
    "dithered-hybrid": "#882255",
    "naive-switch": "#7f7f7f",
    "linear-twin": "#f0a58f",
    "sgd-noise": "#5a5a5a",
    # Related optimizers. None of the paper's figures has all of them at once.
    "lion": "#117733",
    "scaled-sign": "#44aa99",
    "ef-signsgd": "#332288",
    "swats": "#ddaa33",
    "onebit-adam": "#bb5566",
    "onebit-sgd": "#6f4c9b",
    "qsgd": "#004488",
    "terngrad": "#97c46c",
    "topk": "#8c564b",
}
#: colours of rules of aggregation; the mean has the colour of its optimizer
AGGREGATIONS = {
    "vote": "#aa3377",
    "two-phase-vote": "#e07ab0",
    "dithered-vote": "#d55e00",
    "dithered-two-phase-vote": "#f0a58f",
    "ef": "#117733",
    "two-sided-ef": "#44aa99",
    "alone": "#7f7f7f",
}
#: colours of optimizers that are not listed above
SPARE = ("#999933", "#661100", "#6699cc", "#aa4499")
#: offset and dashes, as matplotlib takes them; the first is a solid line
DASHES: tuple[Line, ...] = ((0, ()), (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1.2, 1, 1.2)))

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "sign-ablate",
}


@contextmanager
def context() -> Iterator[None]:
    """Context manager with the matplotlib settings of our figures. The caller's settings are restored."""
    settings: dict[Any, Any] = {**sns.axes_style("whitegrid"), **_RC}
    with mpl.rc_context(settings):
        yield


def kind(optimizer: str, site: str | None) -> str:
    """Kind of a method, which determines its colour: the optimizer, and for pure dither also the site."""
    return f"dithered-{site}" if optimizer == "dithered" else optimizer


def colour(name: str) -> str:
    """Colour of a kind of method or rule of aggregation, the same in all figures and campaigns."""
    return COLOURS.get(name) or AGGREGATIONS.get(name) or SPARE[zlib.crc32(name.encode()) % len(SPARE)]


def styles(cells: pd.DataFrame) -> dict[str, tuple[str, Line]]:
    """Map labels to colour and dashes. Cells of one kind have its hue and differ in lightness and dashes.

    Args:
        cells: one row per cell, in campaign order, with label, optimizer and site.
    """
    kinds = [kind(o, s) for o, s in zip(cells["optimizer"], cells["site"], strict=True)]
    found = {}
    for name in dict.fromkeys(kinds):
        labels = [label for label, k in zip(cells["label"], kinds, strict=True) if k == name]
        for i, label in enumerate(labels):
            found[label] = (_shade(colour(name), i, len(labels)), DASHES[i % len(DASHES)])
    return found


def _shade(base: str, index: int, count: int) -> str:
    """Mix the base colour with white: 0 % for the first of `count` cells, at most 50 % for the last."""
    white = 0.5 * index / max(count - 1, 2)
    red, green, blue = (part + white * (1 - part) for part in to_rgb(base))
    return to_hex((red, green, blue))


def pretty(label: str) -> str:
    """Replace the names of options in a label by the paper's symbols."""
    return label.replace("alpha=", "α=").replace("gamma=", "γ=").replace("t_switch=", "T=")


def save(figure: Figure, stem: str | Path) -> None:
    """Write `<stem>.svg`, `.png` and `.pdf`. Equal figures give equal bytes."""
    path = Path(stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    # without dates and, in the PNG, without the version of matplotlib
    metadata = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    with context():
        for suffix, values in metadata.items():
            figure.savefig(f"{path}.{suffix}", metadata=values, dpi=DPI, bbox_inches="tight", pad_inches=0.03)
