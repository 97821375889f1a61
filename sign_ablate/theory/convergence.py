"""Theorem 1 in simulation: its bounds (2) and (3), their rates in K, and the stated noise floor of ‖g‖₁.

SignSGD with the theorem's step size, for horizons K up to 10⁵, four batch sizes and three laws of noise.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import equations, tables
from sign_ablate.theory.problems import Problem, quadratic, robust_regression
from sign_ablate.theory.simulate import NOISES, Averages, sign_sgd

KEYS = [
    field("problem", pa.string(), "problem and start (sign_ablate.theory.problems)"),
    field("law", pa.string(), "law of the noise (sign_ablate.theory.simulate.NOISES)"),
    field("batch_size", pa.int64(), "mini-batch size n"),
    field("steps", pa.int64(), "number of steps K; null for a slope over K"),
]
PROBLEMS: dict[str, Callable[[], Problem]] = {
    "quadratic": lambda: quadratic(start=2.0),
    "quadratic-from-minimum": lambda: quadratic(start=0.0),
    "robust-regression": robust_regression,
}
SYMMETRIC = ("gaussian", "laplace", "worst")
BATCH_SIZES = (1, 4, 16, 64)
#: the last decade, over which slopes are fitted, in three points
STEPS = (1_000, 10_000, 31_623, 100_000)
FITTED = 3
REPLICATES = 24
#: share of the bound with the constant √3 that the worst law must reach for the constant to count as sharp
SHARP = 0.95
#: tolerance of a fitted slope, since the exponent of a bound is reached only for K → ∞
SLOPE_MARGIN = 0.05


def run(
    rng: np.random.Generator, problem: str, steps: Iterable[int] = STEPS, replicates: int = REPLICATES
) -> list[tables.Row]:
    """Rows of one problem.

    Args:
        rng: generator of the noise.
        problem: a key of PROBLEMS.
        steps: horizons K in ascending order, at least FITTED.
        replicates: independent trajectories for each law, batch size and K.
    """
    task, steps = PROBLEMS[problem](), list(steps)
    rows = []
    for law in SYMMETRIC:
        results = [sign_sgd(task, NOISES[law], BATCH_SIZES, k, replicates, rng) for k in steps]
        for i, n in enumerate(BATCH_SIZES):
            keys = {"problem": problem, "law": law, "batch_size": n}
            for k, result in zip(steps, results, strict=True):
                rows += _bounds(task, n, k, result, i, {**keys, "steps": k})
            rows += _slopes(steps, [r.phi[i] for r in results], [r.l1[i] for r in results], keys)
            name, least = "average ‖g‖₁ against the noise floor", floor(task, n)
            last = {**keys, "steps": steps[-1]}
            rows.append(tables.mean(name, results[-1].l1[i], ">=", least, "noise-floor", **last))
    return rows


def floor(task: Problem, n: int) -> float:
    """The stated noise floor of ‖g‖₁: σ̃₁/√n."""
    return float(task.sigma.sum()) / n**0.5


def _bounds(task: Problem, n: int, k: int, result: Averages, i: int, keys: tables.Row) -> list[tables.Row]:
    """Averages over K = k steps against the bounds, for the i-th batch size, n."""
    phi, l1, aligned = result.phi[i], result.l1[i], result.aligned[i]
    delta = equations.step_size(task.l1, k)
    at = (task.l1, k, task.gap)
    # (4) summed over the steps, for each trajectory: what is left of the decrease
    slack = result.decrease[i] - delta * k * aligned + 0.5 * k * task.l1 * delta**2
    vanishing = equations.vanishing_l1_bound(*at, floor(task, n))
    rows = [
        tables.mean("average Φ", phi, "<=", equations.stationarity_bound(*at), "theorem1-eq2", **keys),
        tables.mean(
            "average ‖g‖₁", l1, "<=", equations.l1_bound(*at, floor(task, n)), "theorem1-eq3", **keys
        ),
        tables.mean("average ‖g‖₁, vanishing bound", l1, "<=", vanishing, "l1-vanishing-bound", **keys),
        tables.mean("average of ⟨g, sign(g̃)⟩ − Φ/3", aligned - phi / 3, ">=", 0.0, "eq7", **keys),
        tables.exact("least slack of (4), summed over a path", float(slack.min()), ">=", 0.0, "eq8", **keys),
    ]
    least = equations.stationarity_bound(*at, constant=math.sqrt(3))
    if result.expected is not None:
        # The worst law attains the bound, so the noise of the estimate has to go. This has the mean of Φ.
        phi = phi + math.sqrt(3) * (aligned - result.expected[i])
        if task.gap == 0 and k == max(STEPS):
            name = "average Φ / bound with √3, from the minimum"
            rows.append(tables.mean(name, phi / least, ">=", SHARP, "constant-sharp", **keys))
    rows.append(tables.mean("average Φ, constant √3", phi, "<=", least, "theorem1-constant", **keys))
    return rows


def _slopes(
    steps: list[int], phi: list[equations.Array], l1: list[equations.Array], keys: tables.Row
) -> list[tables.Row]:
    """Log-log slopes over the last decade of K, fitted to each replicate."""

    def fitted(values: list[equations.Array]) -> equations.Array:
        return np.polyfit(np.log(steps[-FITTED:]), np.log(values[-FITTED:]), 1)[0]

    return [
        tables.mean("slope of average Φ", fitted(phi), "<=", -0.5 + SLOPE_MARGIN, "theorem1-rate", **keys),
        tables.mean("slope of average ‖g‖₁", fitted(l1), "<=", -0.25 + SLOPE_MARGIN, "l1-rate", **keys),
    ]
