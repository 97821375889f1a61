"""Variance of λ̄, the exponential average of λ_k, and the λ_k of pure noise (null model λ₀)."""

import math

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import equations, tables

KEYS = [
    field("eta", pa.float64(), "decay η of the average"),
    field("rho", pa.float64(), "correlation of successive λ_k; null where they come from gradients"),
    field("beta", pa.float64(), "momentum β; null where λ_k is AR(1)"),
]
ETAS = np.array([0.9, 0.99, 0.999])
RHOS = np.array([-0.5, 0.0, 0.5, 0.9])
BETAS = (0.0, 0.5, 0.9, 0.99)
REPLICATES = 2_000
#: time constants 1/(1−η) of the slowest average that are simulated: its start is forgotten to e^−7
TIME_CONSTANTS = 7
#: epochs before the switch, and steps per epoch, in the paper's figure 2
SWITCH_EPOCH, STEPS_PER_EPOCH = 25, 391


def run(rng: np.random.Generator) -> list[tables.Row]:
    """Rows of the experiment."""
    return [
        *_autoregressive(rng), *_null_cosine(rng), *_null_average(rng), *_start(), *_null_uneven(rng)
    ]  # fmt: skip


def _autoregressive(rng: np.random.Generator) -> list[tables.Row]:
    """Variance of λ̄ for stationary AR(1) λ_k with variance 1."""
    rho, eta = RHOS[:, None], ETAS[:, None, None]
    scale = np.sqrt(1 - rho * rho)
    latest = rng.standard_normal((len(RHOS), REPLICATES))
    average = np.zeros((len(ETAS), len(RHOS), REPLICATES))
    for _ in range(round(TIME_CONSTANTS / (1 - ETAS.max()))):
        latest = rho * latest + scale * rng.standard_normal(latest.shape)
        average += (1 - eta) * (latest - average)
    return [
        tables.variance_ratio(
            "variance of λ̄ / variance of λ_k", average[i, j], 1.0,
            equations.average_variance_ratio(ETAS[i], RHOS[j]),
            "lambda-average" if RHOS[j] == 0 else "lambda-average-correlated",
            eta=float(ETAS[i]), rho=float(RHOS[j]),
        )
        for i in range(len(ETAS))
        for j in range(len(RHOS))
    ]  # fmt: skip


def _null_cosine(rng: np.random.Generator, d: int = 50_000, replicates: int = 64) -> list[tables.Row]:
    """Cosine between sign(m_{k+1}) and g_k, with momentum of independent standard normal gradients."""
    rows = []
    for beta in BETAS:
        g, m = _noise(rng, beta, (replicates, d))
        cosine = (np.sign(m) * g).sum(-1) / (math.sqrt(d) * np.linalg.norm(g, axis=-1))
        expected = equations.null_cosine(beta)
        rows += [
            tables.mean("cosine of sign(m) and g", cosine, "=", expected, "lambda-null", beta=beta),
            tables.mean("‖λg‖/‖δ·sign(m)‖", cosine, "=", expected, "step-length", beta=beta),
        ]
    return rows


def _null_uneven(rng: np.random.Generator, d: int = 50_000, replicates: int = 64) -> list[tables.Row]:
    """λ_k of Gaussian noise whose standard deviations cover two decades, against both of its forms."""
    sizes = np.logspace(-1, 1, d)
    rows = []
    for beta in BETAS[1:]:  # without momentum ⟨sign(g), g⟩ is ‖g‖₁
        g, m = (sizes * x for x in _noise(rng, beta, (replicates, d)))
        rate, length = equations.projected_rate(g, m, 1.0), np.linalg.norm(g, axis=-1)
        alignment = rate * np.square(length) / np.abs(g).sum(-1)
        share = rate * length / (math.sqrt(d) * equations.null_cosine(beta))
        even = "λ_k/(δ√d·√(2/π)·√(1−β²)/‖g‖), uneven noise"
        rows += [
            tables.mean("λ_k‖g‖²/(δ‖g‖₁), uneven noise", alignment, "=", equations.null_alignment(beta),
                        "lambda-null-uneven", beta=beta),
            tables.mean(even, share, "<=", 1.0, "lambda-null-uneven", beta=beta),
        ]  # fmt: skip
    return rows


def _noise(
    rng: np.random.Generator, beta: float, shape: tuple[int, int]
) -> tuple[equations.Array, equations.Array]:
    """Standard normal gradients g_k, and the stationary momentum m_{k+1} that contains them."""
    g = rng.standard_normal(shape)
    before = math.sqrt((1 - beta) / (1 + beta)) * rng.standard_normal(shape)
    return g, beta * before + (1 - beta) * g


def _null_average(
    rng: np.random.Generator, d: int = 256, chains: int = 300, eta: float = 0.99, beta: float = 0.9
) -> list[tables.Row]:
    """Variance of λ̄ for the λ_k of pure noise, relative to that of uncorrelated λ_k.

    Successive λ_k share momentum: g_k that agrees with m_{k+1} makes it large, and then the next gradient has
    less influence on the sign of m_{k+2}. That correlates them negatively.
    """
    m = math.sqrt((1 - beta) / (1 + beta)) * rng.standard_normal((chains, d))
    steps = round(TIME_CONSTANTS / (1 - eta))
    rates = np.empty((steps, chains))
    for k in range(steps):
        g = rng.standard_normal((chains, d))
        m = beta * m + (1 - beta) * g
        rates[k] = equations.projected_rate(g, m, 1.0)
    rates -= rates.mean()
    weights = (1 - eta) * eta ** np.arange(steps)[::-1]
    uncorrelated = equations.average_variance_ratio(eta) * float(rates.var())
    name = "variance of λ̄, noise alone, divided by that of uncorrelated λ_k"
    return [
        tables.variance_ratio(name, weights @ rates, uncorrelated, 1.0, "lambda-average-momentum", "<=",
                              eta=eta, beta=beta)
    ]  # fmt: skip


def _start() -> list[tables.Row]:
    """Share of λ̄ that is missing at the switch because Algorithm 2 starts it at 0."""
    steps = SWITCH_EPOCH * STEPS_PER_EPOCH
    return [
        tables.exact("share of λ̄ missing at the switch", eta**steps, "<=", 0.01,
                     "lambda-start" if eta <= 0.999 else None, eta=eta)
        for eta in (0.9, 0.99, 0.999, 0.9999)
    ]  # fmt: skip
