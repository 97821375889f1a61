"""Identities of dither before and after the sign, and its size under the schedule (9) during training."""

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import equations, tables

KEYS = [
    field("law", pa.string(), "law of the dither"),
    field("ratio", pa.float64(), "|m|/σ; for uniform dither on [−A, A]: |m|/A"),
    field("alpha", pa.float64(), "initial dither variance α"),
    field("k_unit", pa.string(), "unit of k in (9): iteration or epoch"),
    field("reading", pa.string(), "reading of m (READINGS)"),
    field("epoch", pa.int64(), "epoch at whose start σ_k is taken, from 0"),
]
RATIOS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
ALPHAS = (0.01, 0.1, 0.5)
#: steps per epoch: 50,000 images in batches of 128
STEPS_PER_EPOCH = 391
EPOCHS = 200
#: Readings of the paper and |m| in each. Literally, m is an average of gradients of a mean loss; 0.001 is the
#: upper end of the root mean square that ResNet-18 has early in training. A heavy-ball sum is 1/(1−β) = 10
#: times as large, and the gradients of a loss summed over a batch are 128 times as large.
READINGS = {"literal": 1e-3, "heavy-ball": 1e-2, "summed": 1.28}
#: draws are grouped in replicates, whose means give the interval
REPLICATES, DRAWS = 100, 10_000
#: share of flipped signs below which the dither is said to be gone
GONE = 0.05


def run(rng: np.random.Generator) -> list[tables.Row]:
    """Rows of the experiment."""
    return [*_signs(rng), *_linear_form(), *_post_sign(rng), *_schedule()]


def _signs(rng: np.random.Generator) -> list[tables.Row]:
    """Samples of sign(m+ξ), for Gaussian ξ and for uniform ξ."""
    rows = []
    for ratio in RATIOS:
        signs = np.sign(ratio + rng.standard_normal((REPLICATES, DRAWS)))
        correct = float(equations.correct_sign_probability(ratio, 1.0))
        mean = float(equations.expected_sign(ratio, 1.0))
        keys: tables.Row = {"law": "gaussian", "ratio": ratio}
        rows += [
            tables.frequency("P(correct sign)", signs > 0, correct, "dither-probability", **keys),
            tables.mean_sign("E sign(m+ξ)", signs, mean, "dither-erf", **keys),
        ]
        if ratio < 1:
            uniform = np.sign(ratio + 2 * rng.random((REPLICATES, DRAWS)) - 1)
            keys = {"law": "uniform", "ratio": ratio}
            rows.append(tables.mean_sign("E sign(m+ξ)", uniform, ratio, "uniform-dither", **keys))
    clean = float(equations.expected_sign(1.0, 1e-6))
    rows.append(tables.exact("E sign(m+ξ) for σ → 0", clean, "=", 1.0, "dither-erf", law="gaussian"))
    return rows


def _linear_form() -> list[tables.Row]:
    """Relative error of m√(2/π)/σ. By the series of erf it is at most (m/σ)²/6."""
    rows = []
    for ratio in RATIOS:
        error = 1 - float(equations.expected_sign(ratio, 1.0) / equations.linear_expected_sign(ratio, 1.0))
        keys = {"law": "gaussian", "ratio": ratio}
        rows.append(
            tables.exact("1 − E sign/linear form", error, "<=", ratio**2 / 6, "dither-linear", **keys)
        )
    return rows


def _post_sign(rng: np.random.Generator) -> list[tables.Row]:
    """Step of (10) divided by δ, for a coordinate with m > 0: mean 1, variance σ², power 1 + σ²."""
    rows = []
    for alpha in ALPHAS:
        steps = 1 + np.sqrt(alpha) * rng.standard_normal((REPLICATES, DRAWS))
        power = np.square(steps).mean(1)
        rows += [
            tables.mean("post-sign: mean of step/δ", steps.mean(1), "=", 1.0, "post-sign", alpha=alpha),
            tables.variance_ratio("post-sign: variance of step/δ, divided by σ²", steps.ravel(), alpha, 1.0,
                                  "post-sign", alpha=alpha),
            tables.mean("post-sign: power of step/δ", power, "=", 1 + alpha, "post-sign", alpha=alpha),
        ]  # fmt: skip
    return rows


def _schedule() -> list[tables.Row]:
    """σ_k of (9) over training, and the effect of the dither on a typical momentum in the last epoch."""
    rows = []
    for alpha in ALPHAS:
        for k_unit, per_epoch in (("iteration", STEPS_PER_EPOCH), ("epoch", 1)):
            keys: tables.Row = {"law": "gaussian", "alpha": alpha, "k_unit": k_unit}
            for epoch in (0, 1, 60, EPOCHS - 1):
                sigma = float(np.sqrt(equations.dither_variance(alpha, epoch * per_epoch)))
                rows.append(tables.exact("σ_k", sigma, "<=", float(np.sqrt(alpha)), **keys, epoch=epoch))
            rows += _last_epoch(sigma, {**keys, "epoch": EPOCHS - 1})
    return rows


def _last_epoch(sigma: float, keys: tables.Row) -> list[tables.Row]:
    """Signs that dither with the standard deviation `sigma` flips, and the error of the linear form."""
    rows = []
    for reading, m in READINGS.items():
        flipped = 1 - float(equations.correct_sign_probability(m, sigma))
        name, claim = "flipped signs in the last epoch", f"annealing-{reading}"
        rows.append(tables.exact(name, flipped, "<=", GONE, claim, **keys, reading=reading))
    m = READINGS["literal"]
    error = 1 - float(equations.expected_sign(m, sigma) / equations.linear_expected_sign(m, sigma))
    name = "1 − E sign/linear form in the last epoch"
    rows.append(tables.exact(name, error, "<=", 0.01, "dither-regime", **keys, reading="literal"))
    return rows
