"""The paper's algorithms in NumPy float64, and trajectories by hand."""

import math

import numpy as np
import pytest
import torch

from sign_ablate.optim import HybridSignSGD, SignSGD, noise

D = 50


def gradients(steps, d=D, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, d)) * 0.3


def algorithm1(x, gs, xis, *, lr, beta, alpha, gamma=0.55, site="pre"):
    """Algorithm 1 and eq. (10), line by line, with the noise ξ/σ given."""
    x, m = x.copy(), np.zeros_like(x)
    for k, (g, xi) in enumerate(zip(gs, xis, strict=True)):
        m = beta * m + (1 - beta) * g
        sigma = math.sqrt(alpha * (1 + k) ** -gamma)
        x = x - lr * (np.sign(m + sigma * xi) if site == "pre" else np.sign(m) + sigma * xi)
    return x


def algorithm2(x, gs, *, lr, beta, eta, switch, corrected, eps=1e-12):
    """Algorithm 2; `corrected` divides λ̄ by 1 − ηᵏ, which the paper does not."""
    x, m, average = x.copy(), np.zeros_like(x), 0.0
    for k, g in enumerate(gs):
        if k < switch:
            m = beta * m + (1 - beta) * g
            lam = lr * abs(np.sign(m) @ g) / (g @ g + eps)
            average = eta * average + (1 - eta) * lam
            x = x - lr * np.sign(m)
        else:
            x = x - (average / (1 - eta**switch) if corrected else average) * g
    return x


def direction_and_length(x, gs, *, lr, beta, eta, switch, after, length):
    """Algorithm 2 with x ← x − ℓ·v/‖v‖ from T_switch on: v is sign(m) or g, ℓ is δ√d or ‖λ̄g‖."""
    x, m, average = x.copy(), np.zeros_like(x), 0.0
    for k, g in enumerate(gs):
        m = beta * m + (1 - beta) * g
        if k < switch:
            average = eta * average + (1 - eta) * lr * abs(np.sign(m) @ g) / (g @ g)
            x = x - lr * np.sign(m)
            continue
        bar = average / (1 - eta**switch)
        size = lr * math.sqrt(x.size) if length == "kept" else np.linalg.norm(bar * g)
        v = np.sign(m) if after == "sign" else g
        x = x - size * v / np.linalg.norm(v)
    return x


def ours(cls, x, gs, **options):
    p = torch.nn.Parameter(torch.tensor(x))
    optimizer = cls([p], **options)
    for g in gs:
        p.grad = torch.tensor(g)
        optimizer.step()
    return p.detach().numpy(), optimizer


def our_noise(steps, seed, d=D):
    """The normal noise that our uniform noise stands for."""
    cpu = torch.device("cpu")
    return [noise.normal(torch.Size([d]), seed, k, 0, cpu).double().numpy() for k in range(steps)]


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.5])
def test_algorithm_1(alpha):
    x, gs = np.linspace(-1, 1, D), gradients(30)
    expected = algorithm1(x, gs, our_noise(30, 7), lr=0.01, beta=0.9, alpha=alpha)
    found, _ = ours(SignSGD, x, gs, lr=0.01, beta=0.9, dither="pre", alpha=alpha, seed=7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_post_sign_dither_equation_10():
    x, gs = np.linspace(-1, 1, D), gradients(30)
    expected = algorithm1(x, gs, our_noise(30, 7), lr=0.01, beta=0.9, alpha=0.1, site="post")
    found, _ = ours(SignSGD, x, gs, lr=0.01, beta=0.9, dither="post", alpha=0.1, seed=7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # float32 noise


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("switch", [1, 10, 29, 30])
def test_algorithm_2(switch, corrected):
    x, gs = np.linspace(-1, 1, D), gradients(30)
    expected = algorithm2(x, gs, lr=0.01, beta=0.9, eta=0.95, switch=switch, corrected=corrected)
    found, _ = ours(
        HybridSignSGD, x, gs, lr=0.01, beta=0.9, eta=0.95, switch_step=switch, bias_correction=corrected
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)  # λ̄ is float32


@pytest.mark.parametrize("length", ["projected", "kept"])
@pytest.mark.parametrize("after", ["gradient", "sign"])
@pytest.mark.parametrize("capturable", [False, True])
def test_direction_and_length_after_the_switch(after, length, capturable):
    x, gs = np.linspace(-1, 1, D), gradients(20)
    control = {"after": after, "length": length}
    expected = direction_and_length(x, gs, lr=0.01, beta=0.9, eta=0.95, switch=8, **control)
    options = {"lr": 0.01, "beta": 0.9, "eta": 0.95, "switch_step": 8, "capturable": capturable, **control}
    found, _ = ours(HybridSignSGD, x, gs, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)  # λ̄ is float32


def test_matched_steps_by_hand():
    """β = 0, δ = 1: λ_0 = 7/25; then g = (6, 8) has length 10, a sign √2."""
    gs = np.array([[3.0, 4.0], [6.0, 8.0]])
    options = {"lr": 1.0, "beta": 0.0, "switch_step": 1}
    found, _ = ours(HybridSignSGD, np.zeros(2), gs, after="sign", **options)
    np.testing.assert_allclose(found, [-1 - 2.8 / math.sqrt(2)] * 2, rtol=1e-6)
    found, _ = ours(HybridSignSGD, np.zeros(2), gs, length="kept", **options)
    np.testing.assert_allclose(found, [-1 - 0.6 * math.sqrt(2), -1 - 0.8 * math.sqrt(2)], rtol=1e-6)


def test_three_steps_of_signsgd_m_by_hand():
    """β = ½, δ = 1: m = 1, −1, ½ and x = −1, 0, −1; decay ½ after each step's start."""
    found, _ = ours(SignSGD, np.array([0.0]), np.array([[2.0], [-3.0], [2.0]]), lr=1.0, beta=0.5)
    assert found.tolist() == [-1.0]
    found, _ = ours(
        SignSGD, np.array([4.0]), np.array([[2.0], [-3.0], [2.0]]), lr=1.0, beta=0.5, weight_decay=0.5
    )
    assert found.tolist() == [((4 * 0.5 - 1) * 0.5 + 1) * 0.5 - 1]


def test_three_steps_of_the_hybrid_by_hand():
    """β = 0, η = ½: λ_0 = 7/25, λ_1 = 3/5 at δ = 1; λ̄ = (λ_0/4 + λ_1/2)/(3/4); then x −= λ̄g."""
    gs = np.array([[3.0, 4.0], [1.0, -2.0], [10.0, 0.0]])
    found, optimizer = ours(HybridSignSGD, np.zeros(2), gs, lr=1.0, beta=0.0, eta=0.5, switch_step=2)
    average = (0.28 / 4 + 0.6 / 2) / 0.75
    np.testing.assert_allclose(found, [-2 - 10 * average, 0.0], rtol=1e-6)
    assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx(average, rel=1e-6)


def test_sigma_k_equation_9():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = SignSGD([p], dither="pre", alpha=0.1)
    for k in range(5):
        p.grad = torch.ones(3)
        optimizer.step()
        assert optimizer.diagnostics()["sigma"] == pytest.approx(math.sqrt(0.1 * (1 + k) ** -0.55))


def test_swats_momentum_after_the_switch():
    """v ← βv + g from 0; x ← x − (1−β)λ̄v, with λ̄ = δ where nothing was observed."""
    x, gs = np.linspace(-1, 1, D), gradients(6)
    expected, v = x.copy(), np.zeros(D)
    for g in gs:
        v = 0.9 * v + g
        expected = expected - 0.1 * 0.1 * v
    found, _ = ours(HybridSignSGD, x, gs, lr=0.1, beta=0.9, switch_step=0, sgd_momentum="swats")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_subtractive_dither_restores_the_momentum():
    """E[sign(m+ξ) − ξ/A] = m/A with variance 1/3, whatever m: the quantiser's error is independent of it."""
    n, sigma = 200_000, 1.0
    width = sigma * 3**0.5
    for m in (0.0, 0.4, -1.5):
        p = torch.nn.Parameter(torch.zeros(n))
        optimizer = SignSGD([p], lr=1.0, beta=0.0, dither="pre", law="subtractive", alpha=sigma**2)
        p.grad = torch.full((n,), m)
        optimizer.step()
        step = -p.detach().double()
        assert float(step.mean()) == pytest.approx(m / width, abs=4 * (1 / 3 / n) ** 0.5)
        assert float(step.var()) == pytest.approx(1 / 3, rel=0.01)
