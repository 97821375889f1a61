"""The paper's numbered equations, and the corrected forms of them, as NumPy functions.

Symbols are the paper's: g gradient, s its standard deviation in the mini-batch, S = |g|/s, σ of the dither, δ
step size, L̃₁ = Σ L_i, σ̃₁ = Σ σ_i. All functions broadcast and work in float64.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: split points of the bound on the sign failure: that of the paper's (6), and that of Gauss's inequality
SPLIT = math.sqrt(2 / 3)
GAUSS_SPLIT = 2 / math.sqrt(3)
#: exponent of the dither schedule (9)
GAMMA = 0.55


def stationarity(g: ArrayLike, s: ArrayLike) -> Any:
    """SNR-weighted stationarity measure Φ, eq. (1), of gradients with the coordinates in the last axis.

    Φ = Σ min(|g|, g²/s). A coordinate without noise (s = 0) contributes |g|, the limit of s → 0.
    """
    a = np.abs(np.asarray(g, float))
    s = np.asarray(s, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        quadratic = np.where(s > 0, a * a / s, np.inf)
    return np.minimum(a, quadratic).sum(-1)


def step_size(l1: float, steps: int) -> float:
    """Constant step size of Theorem 1: δ = 1/√(L̃₁K)."""
    return 1 / math.sqrt(l1 * steps)


def best_step_size(l1: float, steps: int, gap: float) -> float:
    """Step size that minimises the bound of Theorem 1's proof: δ = √(2(f₀−f*)/(L̃₁K))."""
    return math.sqrt(2 * gap / (l1 * steps))


def stationarity_bound(l1: float, steps: int, gap: float, constant: float = 3.0) -> float:
    """Right-hand side of (2): constant·√(L̃₁/K)·(f₀−f*+½). The paper's constant is 3; √3 is enough."""
    return constant * math.sqrt(l1 / steps) * (gap + 0.5)


def l1_bound(l1: float, steps: int, gap: float, floor: float) -> float:
    """Right-hand side of (3), with the stated noise floor = σ̃₁/√n."""
    return stationarity_bound(l1, steps, gap) + floor


def vanishing_l1_bound(l1: float, steps: int, gap: float, floor: float) -> float:
    """Bound on the average of E‖g‖₁ that follows from (2): B + √(B·σ̃₁/√n), with B the right-hand side of (2).

    Coordinates with |g| ≥ s contribute at most Φ. For the others, Σ|g| ≤ √(Σ s · Σ g²/s) by Cauchy–Schwarz,
    and the square root moves out of the averages by Jensen. It is O(K^−1/4) at a constant batch size.
    """
    b = stationarity_bound(l1, steps, gap)
    return b + math.sqrt(b * floor)


def failure_bound(snr: ArrayLike) -> Any:
    """The paper's bound (6) on P(sign(g̃) ≠ sign(g)), for symmetric unimodal noise at the SNR S ≥ 0."""
    return _gauss(snr, SPLIT)


def gauss_failure_bound(snr: ArrayLike) -> Any:
    """Gauss's inequality with its own split at S = 2/√3: the smallest bound for all such noise."""
    return _gauss(snr, GAUSS_SPLIT)


def _gauss(snr: ArrayLike, split: float) -> Any:
    snr = np.asarray(snr, float)
    above = 2 / (9 * np.square(np.maximum(snr, split)))
    return np.where(snr > split, above, 0.5 - snr / (2 * math.sqrt(3)))


def dither_variance(alpha: ArrayLike, k: ArrayLike, gamma: float = GAMMA) -> Any:
    """Variance of the dither, eq. (9): σ_k² = α(1+k)^−γ, with k from 0."""
    return np.asarray(alpha, float) * (1 + np.asarray(k, float)) ** -gamma


def correct_sign_probability(m: ArrayLike, sigma: ArrayLike) -> Any:
    """P(sign(m+ξ) = sign(m)) = Φ(|m|/σ) for ξ ~ N(0, σ²), σ > 0."""
    from scipy.special import ndtr

    return ndtr(np.abs(np.asarray(m, float)) / np.asarray(sigma, float))


def expected_sign(m: ArrayLike, sigma: ArrayLike) -> Any:
    """E sign(m+ξ) = erf(m/(σ√2)) for ξ ~ N(0, σ²), σ > 0."""
    from scipy.special import erf

    return erf(np.asarray(m, float) / (np.asarray(sigma, float) * math.sqrt(2)))


def linear_expected_sign(m: ArrayLike, sigma: ArrayLike) -> Any:
    """The paper's first-order form of `expected_sign`: m√(2/π)/σ."""
    return np.asarray(m, float) * math.sqrt(2 / math.pi) / np.asarray(sigma, float)


def projected_rate(g: ArrayLike, m: ArrayLike, delta: float) -> Any:
    """λ of eq. (12) with ε = 0: δ|⟨sign(m), g⟩|/‖g‖², over the last axis."""
    g = np.asarray(g, float)
    return delta * np.abs((np.sign(m) * g).sum(-1)) / np.square(g).sum(-1)


def swats_rate(g: ArrayLike, m: ArrayLike, delta: float) -> Any:
    """γ of SWATS for the step δ·sign(m): δ‖sign(m)‖²/|⟨sign(m), g⟩|, over the last axis."""
    signs = np.sign(m)
    return delta * np.square(signs).sum(-1) / np.abs((signs * np.asarray(g, float)).sum(-1))


def null_alignment(beta: float) -> float:
    """⟨sign(m_{k+1}), g_k⟩/‖g_k‖₁ where the gradients are independent Gaussian noise: √(1−β²).

    Per coordinate, m is Gaussian with correlation √(1−β²) with g, so E sign(m)g = √(1−β²)·E|g|. That holds
    whatever the coordinates' standard deviations, and gives λ_k = √(1−β²)·δ‖g‖₁/‖g‖².
    """
    return math.sqrt(1 - beta * beta)


def null_cosine(beta: float) -> float:
    """Cosine of sign(m_{k+1}) and g_k in that noise, with one standard deviation: √(2/π)·√(1−β²).

    With standard deviations σ_i it is smaller, by the factor Σσ_i/√(dΣσ_i²).
    """
    return math.sqrt(2 / math.pi) * null_alignment(beta)


def average_variance_ratio(eta: float, rho: float = 0.0) -> float:
    """Variance of λ̄, the exponential average with decay η, divided by that of a stationary λ_k.

    (1−η)/(1+η) where λ_k are uncorrelated, times (1+ηρ)/(1−ηρ) where λ_k is AR(1) with correlation ρ.
    """
    return (1 - eta) / (1 + eta) * (1 + eta * rho) / (1 - eta * rho)
