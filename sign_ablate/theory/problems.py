"""Problems of the convergence experiments, with the constants that Theorem 1 needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sign_ablate.theory.equations import Array


@dataclass(frozen=True)
class Problem:
    """A function with a known infimum, a start, and the standard deviations of one sample's gradient noise.

    Args:
        value: f, of points with the coordinates in the last axis.
        gradient: ∇f, of the same shape as the points.
        curvature: L_i, shape (d,): f(y) ≤ f(x) + ⟨∇f(x), y−x⟩ + ½Σ L_i(y_i−x_i)² for all x, y. That is what
            step (4) uses; L_i as the Lipschitz constant of ∂_i f in the Euclidean norm is not enough.
        sigma: σ_i, shape (d,).
        start: x₀, shape (d,).
        infimum: f*.
    """

    value: Callable[[Array], Any]
    gradient: Callable[[Array], Array]
    curvature: Array
    sigma: Array
    start: Array
    infimum: float = 0.0

    @property
    def gap(self) -> float:
        """f₀ − f*."""
        return float(self.value(self.start)) - self.infimum

    @property
    def l1(self) -> float:
        """L̃₁ = Σ L_i."""
        return float(self.curvature.sum())


def quadratic(start: float, d: int = 16) -> Problem:
    """Separable quadratic f(x) = ½ Σ L_i x_i², curvatures over one decade, from x₀ = (start, …, start)."""
    curvature = np.logspace(-0.5, 0.5, d)
    # noise in another order than curvature
    sigma = np.roll(np.linspace(0.5, 1.5, d), d // 3)
    return Problem(
        value=lambda x: 0.5 * (curvature * np.square(x)).sum(-1),
        gradient=lambda x: curvature * x,
        curvature=curvature,
        sigma=sigma,
        start=np.full(d, start),
    )


def robust_regression(d: int = 8, rows: int = 24) -> Problem:
    """Linear regression with the Geman–McClure loss, coupled and not convex.

    f(x) = (1/rows) Σ_j ρ(⟨a_j, x⟩ − b_j) with ρ(r) = r²/(2(1+r²)), whose second derivative lies in [−¼, 1],
    and b = A·x*, so that f* = 0. Entry (i, l) of its Hessian is at most (1/rows)·Σ_j |a_ji a_jl|, so the row
    sums of that matrix are valid L_i.
    """
    rng = np.random.default_rng(7)
    a = rng.standard_normal((rows, d))
    b = a @ np.ones(d)

    def value(x: Array) -> Any:
        squares = np.square(x @ a.T - b)
        return 0.5 * (squares / (1 + squares)).mean(-1)

    def gradient(x: Array) -> Array:
        residual = x @ a.T - b
        return (residual / np.square(1 + np.square(residual))) @ a / rows

    entries = np.abs(a)
    return Problem(
        value=value,
        gradient=gradient,
        curvature=(entries * entries.sum(1, keepdims=True)).sum(0) / rows,
        sigma=np.full(d, 0.1),
        start=np.zeros(d),
    )
