"""Sign-failure probability against the paper's bound (6), and the alignment (5) and (7).

For six symmetric unimodal laws over the whole SNR range: the exact probability, and draws that check it.
"""

import math

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import equations, tables
from sign_ablate.theory.noise import LAWS, Law

KEYS = [
    field("law", pa.string(), "law of the noise (theory.noise.LAWS); null for the bounds themselves"),
    field("snr", pa.float64(), "signal-to-noise ratio S = |g|/s of the coordinate"),
]  # fmt: skip
#: SNR from 1/1000 to 100, and the points where a bound changes its form
GRID = np.sort(np.concatenate([np.logspace(-3, 2, 61), [equations.SPLIT, 1.0, equations.GAUSS_SPLIT]]))
DRAWS = 200_000
#: draws of (7): coordinates of random gradients
COORDINATES = 50


def run(rng: np.random.Generator) -> list[tables.Row]:
    """Rows of the experiment."""
    rows = _constants()
    for name, law in LAWS.items():
        rows += _law(name, law, rng)
        rows += _alignment(name, law, rng)
    return rows


def _law(name: str, law: Law, rng: np.random.Generator) -> list[tables.Row]:
    """Exact probabilities below (6) and below Gauss's bound, and frequencies around the exact probability."""
    rows = []
    exact = law.failure(GRID)
    allowed, least = equations.failure_bound(GRID), equations.gauss_failure_bound(GRID)
    same = None if name == "extremal" else law.sample(rng, GRID[:1], (DRAWS,))
    for snr, p, bound, gauss in zip(GRID, exact, allowed, least, strict=True):
        draws = law.sample(rng, snr, (DRAWS,)) if same is None else same
        keys: tables.Row = {"law": name, "snr": float(snr)}
        rows += [
            tables.exact("P(wrong sign)", float(p), "<=", float(bound), "eq6", **keys),
            tables.exact("P(wrong sign), Gauss's split", float(p), "<=", float(gauss), "gauss-split", **keys),
            tables.frequency("P(wrong sign), sampled", snr + draws <= 0, float(p), **keys),
        ]
    return rows


def _alignment(name: str, law: Law, rng: np.random.Generator) -> list[tables.Row]:
    """(5) and (7) for one random gradient whose coordinates cover the SNR range, with s = 1."""
    g = np.exp(rng.uniform(np.log(1e-2), np.log(10), COORDINATES)) * rng.choice([-1.0, 1.0], COORDINATES)
    noise = law.sample(rng, np.abs(g), (DRAWS // COORDINATES, COORDINATES))
    aligned = (g * np.sign(g + noise)).sum(-1)
    p = law.failure(np.abs(g))
    # an atom at zero cannot meet g + noise = 0, so sign is ±1 and (5) is exact
    expected = float((np.abs(g) * (1 - 2 * p)).sum())
    phi = float(equations.stationarity(g, np.ones(COORDINATES)))
    return [
        tables.mean("⟨g, sign(g̃)⟩ against Σ|g|(1−2p)", aligned, "=", expected, "eq5", law=name),
        tables.mean("⟨g, sign(g̃)⟩ against Φ/3", aligned, ">=", phi / 3, "eq7", law=name),
    ]


def _constants() -> list[tables.Row]:
    """Smallest (1−2p)/min(1, S) that each bound leaves, and the relation between the two bounds."""
    fine = np.concatenate([np.logspace(-3, 2, 20_001), [equations.SPLIT, np.nextafter(equations.SPLIT, 1)]])
    weights = np.minimum(1, fine)
    paper = (1 - 2 * equations.failure_bound(fine)) / weights
    gauss = (1 - 2 * equations.gauss_failure_bound(fine)) / weights
    uniform = (1 - 2 * LAWS["uniform"].failure(fine[fine <= 1])) / fine[fine <= 1]
    excess = equations.failure_bound(fine) - equations.gauss_failure_bound(fine)
    left, right = equations.failure_bound([equations.SPLIT, np.nextafter(equations.SPLIT, 1)])
    third = 1 / math.sqrt(3)
    ratio = "min of (1−2p)/min(1, S)"
    return [
        tables.exact(f"{ratio} by (6)", float(paper.min()), ">=", 1 / 3, "eq6-one-third"),
        tables.exact(f"{ratio} by (6): 1/√6", float(paper.min()), "=", 1 / math.sqrt(6)),
        tables.exact(f"{ratio} by Gauss's bound", float(gauss.min()), ">=", third, "one-over-sqrt3"),
        tables.exact("(1−2p)/S, uniform noise", float(uniform.max()), "=", third, "one-over-sqrt3"),
        tables.exact("min of (6) − Gauss's bound", float(excess.min()), ">=", 0.0, "gauss-split"),
        tables.exact("jump of (6) at S = √(2/3)", float(right - left), "=", math.sqrt(2) / 6 - 1 / 6),
    ]  # fmt: skip
