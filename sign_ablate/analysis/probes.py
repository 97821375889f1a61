"""Figure of the probes of single steps: λ against its null model, dither against m, gradient noise."""

import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from sign_ablate.analysis import schemas, style


class Panel(NamedTuple):
    """A quantity of probes.parquet.

    Attributes:
        name: title of the panel.
        quantity: the quantity.
        over: a quantity of the same probe by which it is divided, or None.
        line: value to compare with.
        has_decades: True for a logarithmic axis.
    """

    name: str
    quantity: str
    over: str | None
    line: float
    has_decades: bool = False


PANELS = (
    Panel("λ$_k$ / λ of noise alone", "lambda", "lambda_null", 1.0),
    Panel("rms(m) / σ$_k$", "momentum_over_sigma", None, 1.0, has_decades=True),
    Panel("Signs flipped by dither", "flip_fraction", None, 0.5),
    Panel("Coordinates of SNR < 2/√3", "snr_low", None, 1.0),
    Panel("Coordinates of skewness ≠ 0", "skewed", None, 0.05),
)
_COLUMNS = 3


def read(folder: str | Path) -> pd.DataFrame | None:
    """Rows of probes.parquet in the folder of a campaign's tables. None if the campaign has no probes."""
    path = Path(folder) / schemas.PROBES
    return pd.read_parquet(path) if path.exists() else None


def figure(probes: pd.DataFrame, dataset: str) -> Figure:
    """Draw the quantities of PANELS over the probed steps: a point per seed, and a line through their means.

    Dashed lines: noise alone (λ, flipped signs), rms(m) = σ_k, all coordinates (SNR), and Gaussian noise
    (skewness). A panel whose quantity no run has is left out.

    Args:
        probes: rows of probes.parquet.
        dataset: label of the data set.

    Raises:
        ValueError: if the data set has no probe.
    """
    keys = ["label", "optimizer", "site", "seed", "step"]
    rows = probes[probes["dataset"] == dataset]
    if rows.empty:
        raise ValueError(f"no probe on {dataset!r}")
    table = rows.pivot(index=keys, columns="quantity", values="value").reset_index()
    values = {
        panel: (table[panel.quantity] / (table[panel.over] if panel.over else 1.0)).rename("value")
        for panel in PANELS
    }
    shown = [panel for panel in PANELS if values[panel].notna().any()]
    looks = style.styles(rows.drop_duplicates("label")[["label", "optimizer", "site"]])
    with style.context():
        height = math.ceil(len(shown) / _COLUMNS)
        drawn = Figure(figsize=(2 * style.WIDTH, 0.5 + 1.6 * height), layout="constrained")
        axes = list(drawn.subplots(height, _COLUMNS, squeeze=False).flat)
        for place, panel in zip(axes, shown, strict=False):
            place.axhline(panel.line, color="#888888", linewidth=0.8, linestyle=(0, (4, 2)))
            cells = table.assign(value=values[panel]).dropna(subset="value").groupby("label", sort=False)
            for label, cell in cells:
                colour, dashes = looks[str(label)]
                means = cell.groupby("step")["value"].mean()
                place.plot(cell["step"], cell["value"], "o", color=colour, markersize=3, alpha=0.6)
                place.plot(means.index, means, color=colour, linestyle=dashes, label=style.pretty(str(label)))
            place.set_title(panel.name)
            place.set_xlabel("Step")
            if panel.has_decades:
                place.set_yscale("log")
            else:
                place.set_ylim(bottom=0)
        for place in axes[len(shown) :]:
            place.set_axis_off()
        lines = {
            line.get_label(): line for place in axes for line in place.lines if line.get_label()[0] != "_"
        }
        drawn.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=_COLUMNS, frameon=False)
    return drawn
