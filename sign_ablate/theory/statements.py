"""The lab's claims: statement and verdict of each, from the rows of the experiments' tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from sign_ablate.store.run_files import field
from sign_ablate.theory import tables

Source = Literal["paper", "reading", "correction", "control"]


@dataclass(frozen=True)
class Statement:
    """A statement that is tested.

    Args:
        source: paper: stated or used in the paper. reading: one of several readings of the paper's text,
            which is refuted only if all of them are. correction: ours, in place of the paper's or in
            addition. control: a false statement, which the lab must refute.
        text: the statement.
    """

    source: Source
    text: str


STATEMENTS = {
    "eq5": Statement("paper", "(5): E⟨g, sign(g̃)⟩ = Σ|g_i|(1−2p_i)."),
    "eq6": Statement("paper", "(6) bounds the sign-failure probability of symmetric unimodal noise."),
    "eq6-one-third": Statement("paper", "(6) gives 1−2p ≥ ⅓·min(1, S) in both regimes."),
    "eq7": Statement("paper", "(7): E⟨g, sign(g̃)⟩ ≥ Φ/3."),
    "eq8": Statement("paper", "(4) summed over the steps, from which (8) follows, holds on every path."),
    "theorem1-eq2": Statement("paper", "(2): the average of Φ is at most 3√(L̃₁/K)·(f₀−f*+½)."),
    "theorem1-eq3": Statement("paper", "(3): the average of ‖g‖₁ is at most that plus σ̃₁/√n."),
    "theorem1-rate": Statement(
        "paper", "At a fixed batch size the average of Φ falls at least as K^−1/2 (slope ≤ −0.45)."
    ),
    "eq3-inequality": Statement("paper", "|a| ≤ min(|a|, a²/s) + s."),
    "noise-floor": Statement("paper", "No number of steps brings ‖g‖₁ below the noise floor σ̃₁/√n."),
    "gauss-split": Statement("correction", "Gauss's own split at S = 2/√3 gives a smaller bound than (6)."),
    "one-over-sqrt3": Statement("correction", "1−2p ≥ min(1, S)/√3, which uniform noise attains."),
    "theorem1-constant": Statement("correction", "(2) holds with the constant √3 in place of 3."),
    "constant-sharp": Statement(
        "correction", "√3 cannot be improved: the worst noise brings Φ to 95 % of that bound at K = 100,000."
    ),
    "eq3-quarter": Statement("correction", "|a| ≤ min(|a|, a²/s) + s/4: the floor is four times too large."),
    "l1-vanishing-bound": Statement(
        "correction", "The average of ‖g‖₁ is at most B + √(B·σ̃₁/√n), B being the bound (2): no floor."
    ),
    "l1-rate": Statement(
        "correction", "At a fixed batch size the average of ‖g‖₁ falls at least as K^−1/4 (slope ≤ −0.20)."
    ),
    "step-size": Statement("correction", "δ = √(2(f₀−f*)/(L̃₁K)) gives a bound at most as large as (2)."),
    "lipschitz-reading": Statement(
        "reading", "(2) holds if L_i is the Lipschitz constant of ∂_i f, in the norm ‖·‖₂ or along x_i."
    ),
    "asymmetric-noise": Statement("control", "(2) holds for unimodal noise that is not symmetric."),
    "bimodal-noise": Statement("control", "(2) holds for symmetric noise that is not unimodal."),
    "dither-probability": Statement("paper", "Under Gaussian dither P(correct sign) = Φ(|m|/σ)."),
    "dither-erf": Statement("paper", "E sign(m+ξ) = 2Φ(m/σ)−1 = erf(m/(σ√2)), and sign(m) as σ → 0."),
    "dither-linear": Statement("paper", "m√(2/π)/σ is E sign(m+ξ) to first order: error at most (m/σ)²/6."),
    "dither-regime": Statement(
        "correction", "Where |m| ≤ 0.001, dither with α = 0.01, 0.1, 0.5 is linear within 1 % for 200 epochs."
    ),
    "annealing-literal": Statement(
        "reading", "(9) removes the dither: under 5 % of signs flip in epoch 200. Literally: |m| = 0.001."
    ),
    "annealing-heavy-ball": Statement("reading", "The same with heavy-ball momentum: |m| = 0.01."),
    "annealing-summed": Statement(
        "reading", "The same with heavy-ball momentum and a loss summed over 128 images: |m| = 1.28."
    ),
    "uniform-dither": Statement("correction", "Uniform dither on [−A, A] has E sign(m+ξ) = m/A for |m| ≤ A."),
    "post-sign": Statement("paper", "(10): the step has mean δ·sign(m), variance δ²σ² and power δ²(1+σ²)."),
    "lambda-average": Statement(
        "paper", "The average of uncorrelated λ_k has the variance (1−η)/(1+η) of one of them."
    ),
    "lambda-average-correlated": Statement(
        "correction", "AR(1) λ_k with correlation ρ multiply that variance by (1+ηρ)/(1−ηρ)."
    ),
    "lambda-average-momentum": Statement(
        "correction", "In pure noise λ_k are negatively correlated: λ̄ varies less than with uncorrelated λ_k."
    ),
    "lambda-null": Statement(
        "correction",
        "In Gaussian noise of one size the cosine of sign(m_{k+1}) and g_k is √(2/π)·√(1−β²), not 0.",
    ),
    "lambda-null-uneven": Statement(
        "correction",
        "In Gaussian noise of any sizes λ_k is √(1−β²)·δ‖g‖₁/‖g‖², at most the λ_k of noise of one size.",
    ),
    "lambda-start": Statement("paper", "λ̄₀ = 0 matters by less than 1 % after 25 epochs, for η ≤ 0.999."),
    "step-length": Statement(
        "correction", "The SGD step is shorter than the sign step, in pure noise by the same factor."
    ),
    "projection": Statement("paper", "(11): δ·sign(m) − λg is orthogonal to g where ⟨sign(m), g⟩ > 0."),
    "eq12-magnitude": Statement(
        "correction", "Where ⟨sign(m), g⟩ < 0, (12) steps against the projection: it differs by twice of it."
    ),
    "swats-ratio": Statement("correction", "λ is SWATS's γ times cos² of the angle of step and gradient."),
    "memory-sgd": Statement(
        "paper", "SignSGD holds at least 2 bytes per parameter less state than SGD with the same momentum."
    ),
    "memory-adam": Statement(
        "paper", "SignSGD-M and the hybrid hold at least 2 bytes per parameter less state than AdamW."
    ),
    "bits-vote": Statement(
        "paper", "A vote in two phases sends a 32nd of the bytes of a float32 all-reduce, within 2 %."
    ),
    "bits-gather": Statement(
        "correction", "A vote by all-gather sends W/64 of those bytes: nothing is saved from 64 workers on."
    ),
    "lambda-scale": Statement("paper", "λ(cg, cm) = λ(g, m)/c: λ follows the scale of the loss."),
}  # fmt: skip

SCHEMA = pa.schema(
    [
        field("claim", pa.string(), "id of the claim"),
        field("statement", pa.string(), "what it says"),
        field(
            "source",
            pa.string(),
            "paper; reading: one of several of its text; correction: ours; control: must be refuted",
        ),
        field("verdict", pa.string(), "supported: every row holds; refuted: a row fails; else unresolved"),
        field(
            "value", pa.float64(), "value of the deciding row, the one nearest to failing or beyond it most"
        ),
        field("low", pa.float64(), "lower end of its interval"),
        field("high", pa.float64(), "upper end of its interval"),
        field("relation", pa.string(), "how it should compare with the bound: <=, >= or ="),
        field("bound", pa.float64(), "its bound"),
        field("n", pa.int64(), "independent replicates or draws behind it; null where it is exact"),
        field("quantity", pa.string(), "its quantity"),
        field("setting", pa.string(), "its setting: key=value of the experiment's key columns"),
        field("rows", pa.int64(), "rows that bear on the claim"),
        field("rows_failed", pa.int64(), "rows of them that fail"),
    ]
)


def judge(frames: Sequence[pd.DataFrame]) -> list[tables.Row]:
    """One row per claim of STATEMENTS that the tables have rows for, in the order of STATEMENTS.

    Raises:
        ValueError: if a row names a claim that STATEMENTS does not have.
    """
    rows: list[Any] = [row for frame in frames for row in frame.to_dict("records")]
    members: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if not pd.isna(row["claim"]):
            members.setdefault(row["claim"], []).append(row)
    if unknown := members.keys() - STATEMENTS.keys():
        raise ValueError(f"claim {sorted(unknown)[0]!r} is not in sign_ablate.theory.statements.STATEMENTS")
    return [_claim(name, members[name]) for name in STATEMENTS if name in members]


def to_markdown(claims: pd.DataFrame) -> str:
    """Table of the claims, in Markdown: statement, verdict, and the deciding row with its interval."""
    lines = ["| claim | statement | verdict | deciding row | n |", "| --- | --- | --- | --- | --- |"]
    for row in claims.to_dict("records"):
        text = f"{row['value']:.4g}"
        if row["low"] < row["high"]:
            text += f" [{row['low']:.4g}, {row['high']:.4g}]"
        text = f"{row['quantity']}: {text}, should be {row['relation']} {row['bound']:.4g}"
        if row["setting"]:
            text += f" ({row['setting']})"
        n = "exact" if pd.isna(row["n"]) else f"{row['n']:.0f}"
        cells = [f"{row['claim']} ({row['source']})", row["statement"], f"**{row['verdict']}**", text, n]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _claim(name: str, rows: list[dict[str, Any]]) -> tables.Row:
    failed = sum(row["fails"] for row in rows)
    verdict = "refuted" if failed else "supported" if all(row["holds"] for row in rows) else "unresolved"
    deciding = max(rows, key=_distance)
    common = {column.name for column in tables.COLUMNS}
    keys = [(key, value) for key, value in deciding.items() if key not in common and not pd.isna(value)]
    shown = {key: deciding[key] for key in ("value", "low", "high", "relation", "bound", "quantity")}
    statement = STATEMENTS[name]
    return {
        "claim": name, "statement": statement.text, "source": statement.source, "verdict": verdict, **shown,
        "n": None if pd.isna(deciding["n"]) else int(deciding["n"]),
        "setting": ", ".join(f"{key}={_text(value)}" for key, value in keys),
        "rows": len(rows), "rows_failed": failed,
    }  # fmt: skip


def _distance(row: dict[str, Any]) -> tuple[bool, float]:
    """Sort key of how far a row is beyond its bound: failing rows first, then relative to the bound.

    For an equality the distance is in half-widths of the interval, or absolute where the value is exact.
    """
    beyond = row["value"] - row["bound"]
    if row["relation"] == "=":
        half = (row["high"] - row["low"]) / 2
        return row["fails"], abs(beyond) / (half if half > 0 else 1.0)
    size = abs(row["bound"]) or 1.0
    return row["fails"], (beyond if row["relation"] == "<=" else -beyond) / size


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
