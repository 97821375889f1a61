"""Fit of the polynomials in sign_ablate.optim.noise: Φ(x) − ½ = x·S(x²), and x·P(x²)/Q(x²).

    python -m benchmarks.fit_phi

Lawson's iteration: least squares, reweighted until the largest errors are about equal.
"""

import numpy as np
from scipy.stats import norm

Fit = tuple[np.ndarray, np.ndarray, float]


def fit(limit: float, p_degree: int, q_degree: int, rounds: int = 200) -> Fit:
    """Coefficients of P and Q, lowest power first, and the largest error on |x| ≤ limit."""
    x = limit * (0.5 - 0.5 * np.cos(np.pi * np.arange(1, 6001) / 6000))
    t, y = (x / limit) ** 2, norm.cdf(x) - 0.5
    weight, q = np.ones_like(x), np.ones_like(x)
    best = np.zeros(p_degree + 1), np.ones(q_degree + 1), np.inf
    for _ in range(rounds):
        columns = [x * t**i for i in range(p_degree + 1)] + [-y * t**i for i in range(1, q_degree + 1)]
        scale = np.sqrt(weight) / q
        c = np.linalg.lstsq(np.stack(columns, 1) * scale[:, None], y * scale, rcond=None)[0]
        p, q_all = c[: p_degree + 1], np.concatenate([[1.0], c[p_degree + 1 :]])
        q = np.abs(np.polynomial.polynomial.polyval(t, q_all))
        error = np.abs(x * np.polynomial.polynomial.polyval(t, p) / q - y)
        if error.max() < best[2]:
            powers = limit ** (2.0 * np.arange(max(p_degree, q_degree) + 1))
            best = p / powers[: p_degree + 1], q_all / powers[: q_degree + 1], float(error.max())
        weight *= error / error.max() + 1e-3
        weight /= weight.mean()
    return best


if __name__ == "__main__":
    for limit, degrees in ((1.0, (4, 0)), (5.42, (4, 5))):
        p, q, error = fit(limit, *degrees)
        print(f"|x| <= {limit}: error {error:.1e}")
        print("  P", [f"{value:.9e}" for value in p[::-1]])
        print("  Q", [f"{value:.9e}" for value in q[::-1]])
