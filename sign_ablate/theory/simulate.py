"""SignSGD on a problem with known gradients, for many replicates and batch sizes at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sign_ablate.theory.equations import Array, gauss_failure_bound, step_size
from sign_ablate.theory.problems import Problem

#: steps whose noise is drawn at once
_BLOCK = 250

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Noise:
    """Noise of the mini-batch gradient.

    Args:
        draw: random numbers for the noise of one mini-batch, from a generator, a batch size n and a shape.
        sign: sign(g̃) from the gradient g, its noise's standard deviation s, and the draw.
        failure: P(sign(g̃) ≠ sign(g)) for an array of SNR, where the averages should include the expected
            alignment; else None.
    """

    draw: Callable[[np.random.Generator, int, Shape], Any]
    sign: Callable[[Array, Array, Array], Any]
    failure: Callable[[Array], Any] | None = None


def _additive(g: Array, s: Array, draw: Array) -> Any:
    return np.sign(g + s * draw)


def _worst_sign(g: Array, s: Array, draw: Array) -> Any:
    """sign(g̃) under the law that attains Gauss's bound at the present SNR."""
    wrong = draw < gauss_failure_bound(np.abs(g) / s)
    return np.where(wrong == (g > 0), -1.0, 1.0)


def _laplace_mean(rng: np.random.Generator, n: int, shape: Shape) -> Any:
    """Mean of n Laplace variables as a difference of two Gamma(n) variables, scaled to variance 1."""
    return (rng.standard_gamma(n, shape) - rng.standard_gamma(n, shape)) / math.sqrt(2 * n)


def _exponential_mean(rng: np.random.Generator, n: int, shape: Shape) -> Any:
    """Mean of n centred exponential variables, scaled to variance 1: unimodal, not symmetric."""
    return (rng.standard_gamma(n, shape) - n) / math.sqrt(n)


def _coin_mean(rng: np.random.Generator, n: int, shape: Shape) -> Any:
    """Mean of n variables that are 1 or −1 with equal probability, scaled to variance 1: symmetric."""
    return (2 * rng.binomial(n, 0.5, shape) - n) / math.sqrt(n)


#: Laws of the mini-batch mean. "worst" is, at each step, the law that attains Gauss's bound. Theorem 1 does
#: not cover the last two: "exponential" is not symmetric, and "coin" is not unimodal.
NOISES = {
    "gaussian": Noise(lambda rng, n, shape: rng.standard_normal(shape), _additive),
    "laplace": Noise(_laplace_mean, _additive),
    "worst": Noise(lambda rng, n, shape: rng.random(shape), _worst_sign, gauss_failure_bound),
    "exponential": Noise(_exponential_mean, _additive),
    "coin": Noise(_coin_mean, _additive),
}


@dataclass(frozen=True)
class Averages:
    """Averages over the steps of each trajectory, shape (batch sizes, replicates).

    Args:
        phi: Φ_k, eq. (1).
        l1: ‖g_k‖₁.
        aligned: ⟨g_k, sign(g̃_k)⟩, eq. (5).
        expected: Σ|g_i|(1−2p_i), its mean given x_k; None for a law without `failure`.
        decrease: f₀ − f(x_K), not averaged.
    """

    phi: Array
    l1: Array
    aligned: Array
    expected: Array | None
    decrease: Array


def sign_sgd(
    problem: Problem, noise: Noise, batch_sizes: Sequence[int], steps: int, replicates: int,
    rng: np.random.Generator,
) -> Averages:  # fmt: skip
    """Run SignSGD for `steps` steps with the step size of Theorem 1."""
    shape = (len(batch_sizes), replicates, len(problem.start))
    x = np.broadcast_to(problem.start, shape).copy()
    s = problem.sigma / np.sqrt(np.array(batch_sizes))[:, None, None]
    delta = step_size(problem.l1, steps)
    phi, l1, aligned, expected = (np.zeros(shape) for _ in range(4))
    for first in range(0, steps, _BLOCK):
        block = (min(_BLOCK, steps - first), *shape[1:])
        draws = np.stack([noise.draw(rng, n, block) for n in batch_sizes], axis=1)
        for draw in draws:
            g = problem.gradient(x)
            sign = noise.sign(g, s, draw)
            a = np.abs(g)
            l1 += a
            phi += np.minimum(a, a * a / s)
            aligned += g * sign
            if noise.failure is not None:
                expected += a * (1 - 2 * noise.failure(a / s))
            x -= delta * sign
    return Averages(
        phi=phi.sum(-1) / steps,
        l1=l1.sum(-1) / steps,
        aligned=aligned.sum(-1) / steps,
        expected=None if noise.failure is None else expected.sum(-1) / steps,
        decrease=problem.value(problem.start) - problem.value(x),
    )
