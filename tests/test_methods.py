"""Every row of the paper, as the configuration builds it, against NumPy in float64."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sign_ablate.config.methods import OPTIMIZERS
from sign_ablate.optim import noise, registry

Array = NDArray[np.float64]
START = np.array([0.5, -1.0, 2.0, 0.25])
GRADIENTS = [
    np.array([0.3, -0.2, 0.05, 1.0]),
    np.array([-0.6, -0.1, 0.02, -0.4]),
    np.array([0.1, 0.3, -0.5, 0.2]),
    np.array([0.2, -0.4, 0.1, -0.3]),
]
SEED = 3


def run(name: str, **options: Any) -> list[Array]:
    """The trajectory of the optimizer `name` over GRADIENTS; one step is one epoch."""
    method = OPTIMIZERS[name].model_validate(options)
    p = torch.nn.Parameter(torch.tensor(START))
    optimizer = registry.build(
        name, method.model_dump(exclude={"optimizer"}), [p], seed=SEED, steps_per_epoch=1
    )
    trajectory = []
    for g in GRADIENTS:
        p.grad = torch.tensor(g)
        optimizer.step()
        trajectory.append(p.detach().numpy().copy())
    return trajectory


def oracle(step: Callable[[int, Array, Array], Array]) -> list[Array]:
    x, trajectory = START.copy(), []
    for k, g in enumerate(GRADIENTS):
        x = step(k, x, g)
        trajectory.append(x.copy())
    return trajectory


def dither(k: int, alpha: float, gamma: float) -> Array:
    xi = noise.normal(torch.Size([4]), SEED, k, 0, torch.device("cpu")).double().numpy()
    return math.sqrt(alpha * (1 + k) ** -gamma) * xi


class SignMomentum:
    """Algorithm 1 and Algorithm 2 in float64, with the noise given."""

    def __init__(self, lr: float, beta: float, decay: float = 0.0) -> None:
        self.lr, self.beta, self.decay, self.m = lr, beta, decay, np.zeros(4)

    def update(self, g: Array) -> None:
        self.m = self.beta * self.m + (1 - self.beta) * g

    def apply(self, x: Array, direction: Array) -> Array:
        return x * (1 - self.lr * self.decay) - self.lr * direction


def test_sgd() -> None:
    m = np.zeros(4)

    def step(k: int, x: Array, g: Array) -> Array:
        nonlocal m
        g = g + 0.01 * x
        m = g if k == 0 else 0.9 * m + g
        return x - 0.1 * m

    np.testing.assert_allclose(run("sgd", lr=0.1, weight_decay=0.01), oracle(step), rtol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(decoupled: bool) -> None:
    m, v = np.zeros(4), np.zeros(4)

    def step(k: int, x: Array, g: Array) -> Array:
        nonlocal m, v
        if decoupled:
            x = x * (1 - 0.1 * 0.01)
        else:
            g = g + 0.01 * x
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        m_hat, v_hat = m / (1 - 0.9 ** (k + 1)), v / (1 - 0.99 ** (k + 1))
        return x - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)

    ours = run("adam", lr=0.1, beta2=0.99, weight_decay=0.01, decoupled=decoupled)
    np.testing.assert_allclose(ours, oracle(step), rtol=1e-9)


@pytest.mark.parametrize("decoupled", [False, True])
def test_signsgd(decoupled: bool) -> None:
    def step(k: int, x: Array, g: Array) -> Array:
        if decoupled:
            return x * (1 - 0.1 * 0.5) - 0.1 * np.sign(g)
        return x - 0.1 * np.sign(g + 0.5 * x)

    ours = run("signsgd", lr=0.1, weight_decay=0.5, decoupled=decoupled)
    np.testing.assert_allclose(ours, oracle(step), rtol=1e-12)


def test_signsgd_m() -> None:
    method = SignMomentum(0.1, 0.6, decay=0.2)

    def step(k: int, x: Array, g: Array) -> Array:
        method.update(g)
        return method.apply(x, np.sign(method.m))

    np.testing.assert_allclose(run("signsgd-m", lr=0.1, beta=0.6, weight_decay=0.2), oracle(step), rtol=1e-12)


def test_signsgd_m_by_hand() -> None:
    """First coordinate: m = 0.15, −0.225, −0.0625, 0.06875, so down, up, up, down."""
    ours = [x[0] for x in run("signsgd-m", lr=0.1, beta=0.5)]
    np.testing.assert_allclose(ours, [0.4, 0.5, 0.6, 0.5], rtol=1e-12)


@pytest.mark.parametrize("site", ["pre", "post"])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
def test_dithered(site: str, alpha: float) -> None:
    method = SignMomentum(0.1, 0.9)

    def step(k: int, x: Array, g: Array) -> Array:
        method.update(g)
        xi = dither(k, alpha, 0.55)
        return method.apply(x, np.sign(method.m + xi) if site == "pre" else np.sign(method.m) + xi)

    ours = run("dithered", lr=0.1, site=site, alpha=alpha)
    np.testing.assert_allclose(ours, oracle(step), rtol=1e-6)


@pytest.mark.parametrize("t_switch", [1, 2, 3])
@pytest.mark.parametrize("alpha", [None, 0.1])
def test_hybrid(t_switch: int, alpha: float | None) -> None:
    """Algorithm 2, with λ̄ corrected for its start at 0 and dither outside the projection rule."""
    lr, eta = 0.1, 0.9
    method, average = SignMomentum(lr, 0.9), 0.0

    def step(k: int, x: Array, g: Array) -> Array:
        nonlocal average
        if k >= t_switch:
            return x - average / (1 - eta**t_switch) * g
        method.update(g)
        lam = lr * abs(np.sign(method.m) @ g) / (g @ g)
        average = eta * average + (1 - eta) * lam
        xi = 0.0 if alpha is None else dither(k, alpha, 0.55)
        return method.apply(x, np.sign(method.m + xi))

    extra = {} if alpha is None else {"site": "pre", "alpha": alpha}
    name = "hybrid" if alpha is None else "dithered-hybrid"
    ours = run(name, lr=lr, eta=eta, t_switch=t_switch, **extra)
    np.testing.assert_allclose(ours, oracle(step), rtol=1e-5)


@pytest.mark.parametrize("sgd_lr", [None, 0.03])
def test_naive_switch(sgd_lr: float | None) -> None:
    method = SignMomentum(0.1, 0.9)

    def step(k: int, x: Array, g: Array) -> Array:
        if k >= 2:
            return x - (sgd_lr or 0.1) * g
        method.update(g)
        return method.apply(x, np.sign(method.m))

    ours = run("naive-switch", lr=0.1, t_switch=2, sgd_lr=sgd_lr)
    np.testing.assert_allclose(ours, oracle(step), rtol=1e-12)


def test_unknown_optimizer_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown optimizer 'sdg' \(known: .*adam, .*sgd"):
        registry.build("sdg", {}, [torch.nn.Parameter(torch.zeros(1))], seed=0, steps_per_epoch=1)
