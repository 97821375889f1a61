"""The lab's figures, drawn from the experiments' tables: experiment → rows of its table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from sign_ablate.analysis import style
from sign_ablate.theory import equations
from sign_ablate.theory.convergence import BATCH_SIZES
from sign_ablate.theory.dither import ALPHAS, EPOCHS, READINGS, STEPS_PER_EPOCH
from sign_ablate.theory.lambda_average import ETAS, RHOS
from sign_ablate.theory.noise import STUDENT_DF

Tables = Mapping[str, pd.DataFrame]

#: colours of laws, batch sizes and the like, in the order of the table
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255")
_CONVERGENCE = {
    "convergence-from-minimum": "Quadratic, from its minimum",
    "convergence-quadratic": "Quadratic, from x = 2",
    "convergence-regression": "Robust regression",
}
_NAMES = {
    "gaussian": "Gaussian",
    "laplace": "Laplace",
    "uniform": "uniform",
    "logistic": "logistic",
    "student-t": f"Student t ({STUDENT_DF} d.f.)",
    "extremal": "Gauss's extremal law",
}
_LAWS = {"gaussian": "Gaussian noise", "worst": "worst noise"}
_DASHES = {"gaussian": "-", "worst": ":"}
_FLOOR: dict[str, Any] = {"linewidth": 0.7, "linestyle": (0, (4, 2))}


def failure(tables: Tables) -> Figure:
    """Sign-failure probability of six laws against (6), and its share of (6), over the SNR."""
    rows = tables["sign-failure"]
    rows = rows[rows["claim"] == "eq6"]
    snr = np.sort(rows["snr"].unique())
    fine = np.sort(np.concatenate([np.logspace(-3, 2, 2001), [equations.SPLIT, equations.SPLIT + 1e-9]]))
    with style.context():
        figure, (left, right) = _panels(2)
        for colour, name in zip(PALETTE, _NAMES, strict=False):
            law = rows[rows["law"] == name]
            left.plot(law["snr"], law["value"], color=colour, label=_NAMES[name])
            right.plot(law["snr"], law["value"] / law["bound"], color=colour)
        left.plot(fine, equations.failure_bound(fine), color="black", linestyle="--", label="bound (6)")
        right.axhline(1, color="black", linestyle="--")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlabel("Signal-to-noise ratio S")
        left.set_xlim(0.03, 30)
        right.set_xlim(snr[0], 30)
        left.set_ylabel("P(wrong sign)")
        right.set_ylabel("P(wrong sign) / bound (6)")
        _legend(figure, left.get_legend_handles_labels()[0])
    return figure


def rates(tables: Tables) -> Figure:
    """Averages of Φ and ‖g‖₁ over K, with the bound (2), its form with √3, and the stated noise floors."""
    with style.context():
        figure = Figure(figsize=(2 * style.WIDTH, 4.2), layout="constrained")
        panels = figure.subplots(2, len(_CONVERGENCE), sharex=True)
        for column, (name, title) in enumerate(_CONVERGENCE.items()):
            _rates_column(panels[:, column], tables[name])
            panels[0][column].set_title(title)
        panels[0][0].set_ylabel("Average Φ")
        panels[1][0].set_ylabel("Average ‖g‖₁")
        looks: dict[str, dict[str, Any]] = {f"n = {n}": {"color": c} for n, c in _colours().items()}
        looks |= {_LAWS[law]: {"color": "gray", "linestyle": dashes} for law, dashes in _DASHES.items()}
        looks |= {
            "bound (2)": {"color": "black", "linestyle": "--"},
            "bound (2) with √3": {"color": "black", "linestyle": "-."},
            "stated noise floor σ̃₁/√n": {"color": "gray", **_FLOOR},
        }
        _legend(figure, [Line2D([], [], label=label, **look) for label, look in looks.items()], columns=5)
    return figure


def _rates_column(panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    """Draw one problem: Φ in the upper panel and ‖g‖₁ in the lower one."""
    phi, l1 = panels
    for n, colour in _colours().items():
        batch = rows[rows["batch_size"] == n]
        for law, dashes in _DASHES.items():
            for axes, quantity in ((phi, "average Φ"), (l1, "average ‖g‖₁")):
                keep = batch[(batch["quantity"] == quantity) & (batch["law"] == law)]
                axes.plot(keep["steps"], keep["value"], color=colour, linestyle=dashes)
                axes.fill_between(
                    keep["steps"], keep["low"], keep["high"], color=colour, alpha=0.15, linewidth=0
                )
        floor = batch.loc[batch["claim"] == "noise-floor", "bound"].iloc[0]
        l1.axhline(floor, color=colour, **_FLOOR)
    first = rows[(rows["batch_size"] == 1) & (rows["law"] == "gaussian")]
    for quantity, dashes in (("average Φ", "--"), ("average Φ, constant √3", "-.")):
        bound = first[first["quantity"] == quantity]
        phi.plot(bound["steps"], bound["bound"], color="black", linestyle=dashes)
    for axes in (phi, l1):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    l1.set_xlabel("Steps K")


def _colours() -> dict[int, str]:
    return dict(zip(BATCH_SIZES, PALETTE, strict=False))


def dither(tables: Tables) -> Figure:
    """Mean sign under dither against its closed and linear forms, and σ_k over training."""
    with style.context():
        figure, (left, right) = _panels(2)
        _mean_sign(left, tables["dither"])
        _schedule(right, tables["dither"])
    return figure


def _mean_sign(axes: Axes, rows: pd.DataFrame) -> None:
    fine = np.linspace(0, 3, 301)
    gaussian, uniform = PALETTE[:2]
    axes.plot(fine, equations.expected_sign(fine, 1), color=gaussian, label="erf(m/(σ√2))")
    axes.plot(fine, equations.linear_expected_sign(fine, 1), "--", color=gaussian, label="m√(2/π)/σ")
    axes.plot(fine[fine <= 1], fine[fine <= 1], color=uniform, label="m/A (uniform)")
    sampled = rows[rows["quantity"].eq("E sign(m+ξ)") & rows["ratio"].le(3)]
    for law, colour, mark in (("gaussian", gaussian, "o"), ("uniform", uniform, "s")):
        part = sampled[sampled["law"] == law]
        axes.plot(
            part["ratio"], part["value"], mark, color=colour, markersize=3.5, label=f"{_NAMES[law]}, sampled"
        )
    axes.set_ylim(0, 1.3)
    axes.set_xlabel("m/σ, or m/A for uniform dither")
    axes.set_ylabel("E sign(m+ξ)")
    axes.legend(frameon=False, loc="lower right")


def _schedule(axes: Axes, rows: pd.DataFrame) -> None:
    epochs = np.arange(EPOCHS)
    for alpha, colour in zip(ALPHAS, PALETTE, strict=False):
        for steps, dashes, label in ((STEPS_PER_EPOCH, "-", f"α = {alpha:g}"), (1, ":", None)):
            sigma = np.sqrt(equations.dither_variance(alpha, epochs * steps))
            axes.plot(epochs, sigma, linestyle=dashes, color=colour, label=label)
        part = rows[(rows["quantity"] == "σ_k") & (rows["alpha"] == alpha)]
        axes.plot(part["epoch"], part["value"], "o", color=colour, markersize=2.5)
    axes.plot([], [], ":", color="gray", label="k in epochs")
    for m, look in zip(READINGS.values(), ("--", "-.", ":"), strict=True):
        axes.axhline(m, color="black", linestyle=look, linewidth=0.9, label=f"|m| = {m:g}")
    axes.set_yscale("log")
    axes.set_xlabel("Epoch")
    axes.set_ylabel(r"Dither $\sigma_k$")
    axes.set_ylim(5e-4, 60)
    axes.legend(frameon=False, loc="upper right", ncols=3)


def averages(tables: Tables) -> Figure:
    """Variance of λ̄ against its closed form, and the cosine of sign(m) and g in pure noise over β."""
    with style.context():
        figure, (left, right) = _panels(2)
        _variance(left, tables["lambda-average"])
        _cosine(right, tables["lambda-average"])
    return figure


def _variance(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["rho"].notna()]
    grid = np.linspace(min(RHOS), max(RHOS), 200)
    for eta, colour in zip(ETAS, PALETTE, strict=False):
        part = rows[rows["eta"] == eta]
        expected = [equations.average_variance_ratio(eta, rho) for rho in grid]
        axes.plot(grid, expected, color=colour, label=f"η = {eta:g}")
        spread = [part["value"] - part["low"], part["high"] - part["value"]]
        axes.errorbar(part["rho"], part["value"], spread, fmt="o", color=colour, markersize=3)
    axes.set_yscale("log")
    axes.set_xlabel(r"Correlation ρ of successive $\lambda_k$")
    axes.set_ylabel(r"Variance of $\bar{\lambda}$ / of $\lambda_k$")
    axes.legend(frameon=False)


def _cosine(axes: Axes, rows: pd.DataFrame) -> None:
    betas = np.linspace(0, 0.999, 300)
    axes.plot(betas, [equations.null_cosine(beta) for beta in betas], color=PALETTE[0])
    sampled = rows[rows["claim"] == "lambda-null"]
    axes.plot(sampled["beta"], sampled["value"], "o", color=PALETTE[0], markersize=3.5)
    axes.set_xlabel("Momentum β")
    axes.set_ylabel("cos(sign(m), g), pure noise")
    axes.set_ylim(0, 1)


def _panels(n: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(2 * style.WIDTH, 2.6), layout="constrained")
    return figure, figure.subplots(1, n)


def _legend(figure: Figure, handles: Iterable[Any], columns: int = 4) -> None:
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False)
