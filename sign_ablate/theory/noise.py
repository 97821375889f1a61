"""Laws of gradient noise with mean 0 and variance 1: exact probability of a sign failure, and samples."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sign_ablate.theory.equations import GAUSS_SPLIT, Array, gauss_failure_bound

#: degrees of freedom of the Student-t law: the smallest integer with a variance, so the heaviest tails
STUDENT_DF = 3


@dataclass(frozen=True)
class Law:
    """A symmetric unimodal law of one coordinate's noise, scaled to variance 1.

    Args:
        failure: P(sign(S + noise) ≠ 1) for an array of SNR S > 0; the sign 0 counts as a failure.
        sample: draws of the noise, from a generator, an array of SNR that broadcasts against the shape (only
            the extremal law depends on it), and the shape.
    """

    failure: Callable[[Array], Any]
    sample: Callable[[np.random.Generator, Array, tuple[int, ...]], Array]


def _gaussian_failure(snr: Array) -> Any:
    from scipy.special import ndtr

    return ndtr(-snr)


def _student_failure(snr: Array) -> Any:
    from scipy.special import stdtr

    return stdtr(STUDENT_DF, -snr * math.sqrt(STUDENT_DF / (STUDENT_DF - 2)))


def _logistic_failure(snr: Array) -> Any:
    from scipy.special import expit

    return expit(-snr * math.pi / math.sqrt(3))


def _extremal_sample(rng: np.random.Generator, snr: Array, shape: tuple[int, ...]) -> Array:
    """Draws of the law that attains Gauss's bound at the SNR S.

    Uniform on [−√3, √3] for S ≤ 2/√3. Beyond: 0 with probability 1−q, else uniform on [−3S/2, 3S/2], where
    q = 4/(3S²) makes the variance 1.
    """
    half = np.where(snr > GAUSS_SPLIT, 1.5 * snr, math.sqrt(3))
    share = np.where(snr > GAUSS_SPLIT, 3 / half**2, 1.0)
    return np.where(rng.random(shape) < share, half * (2 * rng.random(shape) - 1), 0.0)


LAWS = {
    "gaussian": Law(_gaussian_failure, lambda rng, snr, shape: rng.standard_normal(shape)),
    "laplace": Law(
        lambda snr: 0.5 * np.exp(-math.sqrt(2) * snr),
        lambda rng, snr, shape: rng.laplace(scale=math.sqrt(0.5), size=shape),
    ),
    "uniform": Law(
        lambda snr: np.maximum(0.0, 0.5 - snr / (2 * math.sqrt(3))),
        lambda rng, snr, shape: math.sqrt(3) * (2 * rng.random(shape) - 1),
    ),
    "logistic": Law(
        _logistic_failure, lambda rng, snr, shape: rng.logistic(scale=math.sqrt(3) / math.pi, size=shape)
    ),
    "student-t": Law(
        _student_failure,
        lambda rng, snr, shape: (
            rng.standard_t(STUDENT_DF, size=shape) / math.sqrt(STUDENT_DF / (STUDENT_DF - 2))
        ),
    ),
    "extremal": Law(gauss_failure_bound, _extremal_sample),
}
