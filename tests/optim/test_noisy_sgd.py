"""SGD with annealed gradient noise: torch's SGD at α = 0, its equation, and the noise's variance."""

import math

import numpy as np
import pytest
import torch

from sign_ablate.optim import NoisySGD, noise
from tests.optim.helpers import equal, run

D = 50


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.9, "maximize": True},
    ],
    ids=str,
)
def test_alpha_0_is_torch_sgd_bit_for_bit(options):
    one, _ = run(NoisySGD, {"lr": 0.03, "alpha": 0.0, **options})
    two, _ = run(torch.optim.SGD, {"lr": 0.03, **options})
    assert equal(one, two)


def noisy_sgd(x, gs, xis, *, lr, mu, alpha, gamma, decay, nesterov):
    """g + ξ with variance α(1+k)^−γ, coupled decay, then momentum; in NumPy float64."""
    u = np.zeros_like(x)
    for k, (g, xi) in enumerate(zip(gs, xis, strict=True)):
        noisy = g + math.sqrt(alpha * (1 + k) ** -gamma) * xi + decay * x
        u = mu * u + noisy
        x = x - lr * (noisy + mu * u if nesterov else u)
    return x


@pytest.mark.parametrize("nesterov", [False, True])
def test_its_equation(nesterov):
    x, gs = np.linspace(-1, 1, D), np.random.default_rng(0).normal(size=(20, D))
    cpu = torch.device("cpu")
    xis = [noise.normal(torch.Size([D]), 7, k, 0, cpu).double().numpy() for k in range(20)]
    numbers = {"lr": 0.01, "alpha": 0.3, "gamma": 0.7, "nesterov": nesterov}
    expected = noisy_sgd(x, gs, xis, mu=0.8, decay=0.1, **numbers)
    p = torch.nn.Parameter(torch.tensor(x))
    optimizer = NoisySGD([p], momentum=0.8, weight_decay=0.1, seed=7, **numbers)
    for g in gs:
        p.grad = torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), expected, rtol=0, atol=1e-6)  # float32 noise


def test_two_steps_by_hand():
    """The gradients are 2 and −1 with the noise that will be added: μ = ½, u = 2, 0; x = −2, −2."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = NoisySGD([p], lr=1.0, momentum=0.5, alpha=4.0, gamma=2.0)
    cpu, u = torch.device("cpu"), 0.0
    for k, (g, sigma) in enumerate(((2.0, 2.0), (-1.0, 1.0))):
        xi = noise.normal(torch.Size([1]), 0, k, 0, cpu).double()
        p.grad = g - sigma * xi
        optimizer.step()
        u = 0.5 * u + g
    assert u == 0.0
    assert float(p.detach()) == pytest.approx(-2.0, abs=1e-6)
    assert optimizer.diagnostics()["sigma"] == pytest.approx(1.0)


def test_the_noise_has_the_variance_of_equation_9():
    p = torch.nn.Parameter(torch.zeros(200_000))
    optimizer = NoisySGD([p], lr=1.0, momentum=0.0, alpha=0.1)
    for k in range(3):
        p.data.zero_()
        p.grad = torch.zeros_like(p)
        optimizer.step()
        variance = 0.1 * (1 + k) ** -0.55
        assert float(p.detach().var()) == pytest.approx(variance, rel=0.015)
        assert float(p.detach().mean()) == pytest.approx(0.0, abs=4 * (variance / p.numel()) ** 0.5)
