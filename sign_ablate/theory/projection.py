"""Algebra of the projection rule (11) and (12), and its relation to the rule of SWATS."""

import numpy as np
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import equations, tables

KEYS = [
    field("d", pa.int64(), "number of coordinates"),
    field("inner_product", pa.string(), "sign of ⟨sign(m), g⟩ in the pairs: positive, negative or any"),
]
DIMENSIONS = (3, 100, 10_000)
PAIRS = 200
#: length of the sign step
DELTA = 1e-3
#: factor of the loss, a power of two so that it rounds nothing
SCALE = 1024.0


def run(rng: np.random.Generator) -> list[tables.Row]:
    """Rows of the experiment: the largest error over random pairs of momentum and gradient."""
    return [row for d in DIMENSIONS for row in _dimension(d, rng)]


def _dimension(d: int, rng: np.random.Generator) -> list[tables.Row]:
    g = rng.standard_normal((PAIRS, d))
    # inner products of both signs, in high dimension too
    m = rng.standard_normal((PAIRS, d)) + rng.choice([-0.1, 0.1], (PAIRS, 1)) * g
    rate, swats = equations.projected_rate(g, m, DELTA), equations.swats_rate(g, m, DELTA)
    signs = np.sign(m)
    product = (signs * g).sum(-1)
    lengths = np.linalg.norm(signs, axis=-1) * np.linalg.norm(g, axis=-1)
    # ⟨δ·sign(m) − λg, g⟩ relative to the lengths of its parts
    residual = ((DELTA * signs - rate[:, None] * g) * g).sum(-1) / (DELTA * lengths)
    cosine = product / lengths
    positive = np.abs(residual[product > 0]).max()
    negative = np.abs(residual - 2 * cosine)[product < 0].max()
    ratio = np.abs(rate / swats - cosine**2).max()
    scaled = np.abs(equations.projected_rate(SCALE * g, SCALE * m, DELTA) * SCALE / rate - 1).max()
    shorter = np.abs(rate * np.linalg.norm(g, axis=-1) / (DELTA * np.sqrt(d)) - np.abs(cosine)).max()
    part = "⟨δ·sign(m) − λg, g⟩/(‖δ·sign(m)‖‖g‖)"
    return [
        tables.exact(f"max of |{part}|", float(positive), "=", 0.0, "projection", d=d,
                     inner_product="positive"),
        tables.exact(f"max of |{part} − 2·cos|", float(negative), "=", 0.0, "eq12-magnitude", d=d,
                     inner_product="negative"),
        tables.exact("max of |λ/γ − cos²|", float(ratio), "=", 0.0, "swats-ratio", d=d, inner_product="any"),
        tables.exact("max of |c·λ(cg, cm)/λ(g, m) − 1|", float(scaled), "=", 0.0, "lambda-scale", d=d,
                     inner_product="any"),
        tables.exact("max of |‖λg‖/‖δ·sign(m)‖ − |cos||", float(shorter), "=", 0.0, d=d, inner_product="any"),
    ]  # fmt: skip
