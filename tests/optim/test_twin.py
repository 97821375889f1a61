"""The linear twin against its equation, by hand, and against the dither that it linearizes."""

import math

import numpy as np
import pytest
import torch

from sign_ablate.optim import LinearTwin, SignSGD, noise
from tests.optim.helpers import equal, run

D = 50
SLOPE = math.sqrt(2 / math.pi)


def twin(x, gs, zetas, *, lr, beta, alpha, gamma=0.55, heavy_ball=False, scale=1.0, decay=0.0):
    """x ← (1 − lr·decay)x − δ(√(2/π)·m/σ_k + ζ), in NumPy float64."""
    m = np.zeros_like(x)
    for k, (g, zeta) in enumerate(zip(gs, zetas, strict=True)):
        m = beta * m + (1 if heavy_ball else 1 - beta) * scale * g
        sigma = math.sqrt(alpha * (1 + k) ** -gamma)
        x = (1 - lr * decay) * x - lr * (SLOPE * m / sigma + zeta)
    return x


def ours(x, gs, **options):
    p = torch.nn.Parameter(torch.tensor(x))
    optimizer = LinearTwin([p], **options)
    for g in gs:
        p.grad = torch.tensor(g)
        optimizer.step()
    return p.detach().numpy(), optimizer


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("form", ["ema", "heavy_ball"])
def test_its_equation(form, noisy):
    x, gs = np.linspace(-1, 1, D), np.random.default_rng(0).normal(size=(20, D)) * 0.3
    cpu = torch.device("cpu")
    xis = [noise.normal(torch.Size([D]), 7, k, 0, cpu).double().numpy() for k in range(20)]
    numbers = {"lr": 0.01, "beta": 0.8, "alpha": 0.3, "gamma": 0.7}
    zetas = [noisy * np.sign(xi) for xi in xis]
    expected = twin(x, gs, zetas, heavy_ball=form == "heavy_ball", scale=4.0, decay=0.1, **numbers)
    found, _ = ours(
        x, gs, momentum_form=form, noise=noisy, loss_scale=4.0, weight_decay=0.1, seed=7, **numbers
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_two_steps_by_hand():
    """β = ½, α = 4, γ = 2: σ = 2, 1; m = 1, −½; x = −√(2/π)/2, then 0."""
    found, optimizer = ours(np.zeros(1), np.array([[2.0], [-2.0]]), lr=1.0, beta=0.5, alpha=4.0, gamma=2.0)
    np.testing.assert_allclose(found, [0.0], atol=1e-15)
    assert optimizer.diagnostics()["sigma"] == pytest.approx(1.0)
    assert float(optimizer.diagnostics()["momentum_rms"]) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "error"), [(0.03, 0.00015), (0.1, 0.00167), (1.0, 0.1688)])
def test_its_mean_step_is_that_of_dither_for_small_m(ratio, error):
    """Monte Carlo over coordinates with m = ratio·σ; the relative error of the mean rises with m/σ."""
    n, sigma, steps = 1 << 22, 0.5, {}
    for name, cls, options in (
        ("dither", SignSGD, {"dither": "pre"}),
        ("twin", LinearTwin, {}),
        ("noisy", LinearTwin, {"noise": True}),
    ):
        p = torch.nn.Parameter(torch.zeros(n))
        optimizer = cls([p], lr=1.0, beta=0.0, alpha=sigma**2, seed=3, **options)
        p.grad = torch.full((n,), ratio * sigma)
        optimizer.step()
        steps[name] = -p.detach().double()
    mean = float(steps["twin"].mean())
    assert mean == pytest.approx(SLOPE * ratio, rel=1e-6)
    exact = math.erf(ratio / math.sqrt(2))
    assert mean / exact - 1 == pytest.approx(error, rel=0.01)
    # One seed, one ξ: sign(m + ξ) − sign(ξ) has a small variance, and the mean of sign(m + ξ)
    signs = steps["noisy"] - mean
    shift = steps["dither"] - signs.sign()
    standard_error = float(shift.std()) / math.sqrt(n)
    assert standard_error < 0.005 * exact
    assert float(shift.mean()) == pytest.approx(exact, abs=4 * standard_error)
    assert float(shift.mean()) == pytest.approx(mean, rel=1.2 * error, abs=4 * standard_error)
    # The noise is ±δ with mean 0: E‖step‖² = δ²d(1 + (2/π)(m/σ)²), where the dithered step has δ²d
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs), rtol=0, atol=1e-6)
    assert float(signs.mean()) == pytest.approx(0.0, abs=4 / math.sqrt(n))


def test_noise_is_that_of_dither_in_every_memory_order():
    """m = 0: the dithered step is −δ·sign(ξ), and so is the noisy twin's."""
    torch.manual_seed(0)
    steps = []
    for cls, options in ((SignSGD, {"dither": "pre"}), (LinearTwin, {"noise": True})):
        params = [
            torch.nn.Parameter(torch.zeros(4, 3, 5, 5).to(memory_format=torch.channels_last)),
            torch.nn.Parameter(torch.zeros(7, 6).t()),
            torch.nn.Parameter(torch.zeros(9)),
        ]
        optimizer = cls(params, lr=1.0, alpha=0.1, seed=5, **options)
        for _ in range(3):
            for p in params:
                p.grad = torch.zeros_like(p)
            optimizer.step()
        steps.append(params)
    assert equal(*steps)


def test_a_group_added_later_joins_at_the_step():
    p, q = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = LinearTwin([p], lr=1.0, beta=0.0, alpha=1.0)
    for k in range(4):
        if k == 2:
            optimizer.add_param_group({"params": [q]})
        before = p.detach().clone()
        p.grad, q.grad = torch.ones(3), torch.ones(3)
        optimizer.step()
        if k == 2:
            assert torch.equal(q.detach(), p.detach() - before)  # one σ_k for both


def test_epochs():
    options = {"alpha": 0.1, "gamma": 2.0}
    one, _ = run(LinearTwin, {**options, "k_unit": "epoch", "steps_per_epoch": 100})
    two, _ = run(LinearTwin, {"alpha": 0.1, "gamma": 0.0})
    three, _ = run(LinearTwin, options)
    assert equal(one, two)
    assert not equal(one, three)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha must be above 0, got 0.0"),
        (
            {"alpha": 0.1, "beta": 0.0, "momentum_form": "heavy_ball"},
            "momentum_form has no effect without momentum",
        ),
        ({"alpha": 0.1, "k_unit": "epoch"}, "k_unit 'epoch' needs steps_per_epoch"),
        ({"alpha": 0.1, "decoupled": False}, "decoupled has no effect without weight_decay"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        LinearTwin([torch.nn.Parameter(torch.ones(2))], **options)
    with pytest.raises(TypeError, match="alpha"):
        LinearTwin([torch.nn.Parameter(torch.ones(2))])


def test_a_sigma_that_underflows_is_no_division_by_0():
    x, _ = ours([1.0, 1.0], [[0.0, 1.0]] * 3, lr=0.1, beta=0.0, alpha=0.1, gamma=4000.0)
    assert x[0] == 1.0
