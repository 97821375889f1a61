"""The paper's equations against values worked out by hand and against scipy's distributions."""

import math

import numpy as np
import pytest
from scipy import stats

from sign_ablate.theory import equations, noise, projection, sign_failure


def test_stationarity_by_hand() -> None:
    # |g| ≥ s: 3; |g| < s: 0.25/2; no noise: 0.5; no gradient and no noise: 0
    assert equations.stationarity([-3, 0.5, 0.5, 0], [2, 2, 0, 0]) == pytest.approx(3 + 0.125 + 0.5)
    assert equations.stationarity(np.ones((4, 5)), np.ones(5)).shape == (4,)


def test_bounds_of_theorem_1_by_hand() -> None:
    """L̃₁ = 4, K = 100, f₀−f* = 1.5, σ̃₁/√n = 9."""
    assert equations.step_size(4, 100) == pytest.approx(0.05)
    assert equations.stationarity_bound(4, 100, 1.5) == pytest.approx(1.2)
    assert equations.l1_bound(4, 100, 1.5, 9) == pytest.approx(10.2)
    assert equations.vanishing_l1_bound(4, 100, 1.5, 9) == pytest.approx(1.2 + math.sqrt(10.8))


def test_best_step_size_minimises_the_proof() -> None:
    """(f₀−f*)/(δK) + L̃₁δ/2 over δ, on a grid."""
    l1, steps, gap = 7.0, 50, 3.0
    grid = np.linspace(0.01, 1, 100_000)
    best = grid[np.argmin(gap / (grid * steps) + 0.5 * l1 * grid)]
    assert equations.best_step_size(l1, steps, gap) == pytest.approx(best, abs=2e-5)


def test_failure_bound_by_hand() -> None:
    assert equations.failure_bound(2.0) == pytest.approx(1 / 18)
    assert equations.failure_bound(0.0) == 0.5
    assert equations.failure_bound(math.sqrt(2 / 3)) == pytest.approx(0.26430, abs=1e-5)
    assert equations.failure_bound(math.sqrt(2 / 3) + 1e-9) == pytest.approx(1 / 3, abs=1e-6)
    assert equations.gauss_failure_bound(2 / math.sqrt(3)) == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("gaussian", stats.norm()),
        ("laplace", stats.laplace(scale=1 / math.sqrt(2))),
        ("uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("logistic", stats.logistic(scale=math.sqrt(3) / math.pi)),
        ("student-t", stats.t(3, scale=1 / math.sqrt(3))),
    ],
)
def test_laws_are_scipys_with_variance_1(name: str, law: stats.rv_continuous) -> None:
    assert law.var() == pytest.approx(1)
    snr = np.logspace(-3, 2, 50)
    np.testing.assert_allclose(noise.LAWS[name].failure(snr), law.sf(snr), rtol=1e-9, atol=1e-15)
    draws = noise.LAWS[name].sample(np.random.default_rng(0), snr[:1], (50_000,))
    assert stats.kstest(draws, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("snr", [0.3, 1.0, 1.3, 4.0])
def test_extremal_law_has_variance_1_and_attains_the_bound(snr: float) -> None:
    draws = noise.LAWS["extremal"].sample(np.random.default_rng(1), np.array(snr), (2_000_000,))
    assert draws.var() == pytest.approx(1, abs=0.01)
    assert draws.mean() == pytest.approx(0, abs=0.005)
    assert np.mean(snr + draws <= 0) == pytest.approx(float(equations.gauss_failure_bound(snr)), abs=0.002)


def test_dither_by_hand_and_by_scipy() -> None:
    assert math.sqrt(equations.dither_variance(0.1, 0)) == pytest.approx(0.3162, abs=1e-4)
    # after 60 epochs of 391 steps, and after 199 epochs where k counts epochs
    assert math.sqrt(equations.dither_variance(0.1, 60 * 391)) == pytest.approx(0.020, abs=5e-4)
    assert math.sqrt(equations.dither_variance(0.5, 199)) == pytest.approx(0.165, abs=5e-4)
    m = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(equations.correct_sign_probability(m, 0.7), stats.norm.cdf(abs(m) / 0.7))
    np.testing.assert_allclose(equations.expected_sign(m, 0.7), 2 * stats.norm.cdf(m / 0.7) - 1, atol=1e-15)
    for ratio, error in ((0.1, 0.002), (0.3, 0.015), (1.0, 0.17)):
        excess = equations.linear_expected_sign(ratio, 1) / equations.expected_sign(ratio, 1) - 1
        assert excess == pytest.approx(error, rel=0.2)


def test_projection_by_hand() -> None:
    """⟨sign(m), g⟩ = 3 − 1 = 2, ‖g‖² = 10, ‖sign(m)‖² = 2."""
    g, m = [3.0, 1.0], [2.0, -5.0]
    assert equations.projected_rate(g, m, 0.1) == pytest.approx(0.02)
    assert equations.swats_rate(g, m, 0.1) == pytest.approx(0.1)
    assert equations.projected_rate(g, m, 0.1) / equations.swats_rate(g, m, 0.1) == pytest.approx(4 / 20)


def test_null_cosine_and_variance_of_the_average_by_hand() -> None:
    assert equations.null_cosine(0.9) == pytest.approx(0.3478, abs=1e-4)
    assert equations.null_cosine(0.0) == pytest.approx(math.sqrt(2 / math.pi))
    assert equations.null_alignment(0.0) == 1  # m is g, and ⟨sign(g), g⟩ is ‖g‖₁
    assert equations.null_alignment(0.6) == pytest.approx(0.8)
    assert equations.average_variance_ratio(0.9) == pytest.approx(0.1 / 1.9)
    # all λ_k equal: averaging changes nothing
    assert equations.average_variance_ratio(0.9, 1.0) == pytest.approx(1)
    # from the definition: Σ_ij w_i w_j ρ^|i−j|
    weights = 0.2 * 0.8 ** np.arange(200)
    lags = np.abs(np.subtract.outer(np.arange(200), np.arange(200)))
    assert equations.average_variance_ratio(0.8, -0.6) == pytest.approx(weights @ (-0.6) ** lags @ weights)


def test_planted_error_in_the_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is 2 % too small above the split; the split itself 5 % too far left."""
    right = equations.failure_bound
    for wrong in (lambda s: 0.98 * right(s), lambda s: equations._gauss(s, 1.05 * equations.GAUSS_SPLIT)):
        monkeypatch.setattr(equations, "failure_bound", wrong)
        rows = sign_failure.run(np.random.default_rng(0))
        assert any(row["fails"] for row in rows if row["claim"] == "eq6")


def test_planted_error_in_the_projection_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = equations.projected_rate
    monkeypatch.setattr(equations, "projected_rate", lambda g, m, delta: (1 + 1e-6) * right(g, m, delta))
    rows = projection.run(np.random.default_rng(0))
    assert all(row["fails"] for row in rows if row["claim"] in {"projection", "swats-ratio"})
