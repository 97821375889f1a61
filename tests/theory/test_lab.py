"""The experiments: small versions that run fast, planted errors, and verdicts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from sign_ablate.theory import (
    EXPERIMENTS,
    convergence,
    equations,
    lab,
    lambda_average,
    problems,
    savings,
    simulate,
    statements,
    tables,
)


def verdicts(frame: pd.DataFrame) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in statements.judge([frame])}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("convergence")])
def test_theorem_1_holds(name: str, quick: dict[str, pd.DataFrame]) -> None:
    found = verdicts(quick[name])
    # short horizons leave the rates open
    bounds = {c: v for c, v in found.items() if c not in {"noise-floor", "theorem1-rate", "l1-rate"}}
    assert set(bounds.values()) == {"supported"}


@pytest.mark.slow
def test_noise_floor_does_not_hold(quick: dict[str, pd.DataFrame]) -> None:
    rows = quick["convergence-from-minimum"]
    assert verdicts(rows)["noise-floor"] == "refuted"
    slopes = rows[rows["quantity"] == "slope of average ‖g‖₁"]
    assert slopes["value"].mean() == pytest.approx(-0.25, abs=0.05)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        lab.write("dither", tmp_path / name, seed)
    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_sources_of_an_experiment_are_what_it_imports(name: str) -> None:
    """Snakemake runs an experiment again when one of its sources changes, so none may be missing."""
    import ast

    from sign_ablate.store.fingerprint import PACKAGE

    listed, seen = {path for path in EXPERIMENTS[name].sources if path.startswith("theory/")}, set()
    todo = [f"theory/{EXPERIMENTS[name].module}.py"]
    while todo:
        seen.add(path := todo.pop())
        for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sign_ablate.theory"):
                base = [
                    part
                    for part in [(node.module or "").removeprefix("sign_ablate.theory").strip(".")]
                    if part
                ]
                found = base or [alias.name for alias in node.names]
                todo += [f for f in (f"theory/{n}.py" for n in found) if f not in seen]
    assert seen == listed


@pytest.mark.slow
def test_savings_are_counted_from_real_states(quick: dict[str, pd.DataFrame]) -> None:
    from sign_ablate.optim import SignSGD

    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        p = torch.nn.Parameter(torch.ones(3, 5, dtype=dtype))
        assert savings.state_bytes(SignSGD([p], lr=1e-3), p) == size
        assert savings.state_bytes(torch.optim.Adam([p]), p) == 2 * size
    assert verdicts(quick["savings"]) == {
        "memory-sgd": "refuted",
        "memory-adam": "supported",
        "bits-vote": "supported",
        "bits-gather": "supported",
    }


def test_sign_sgd_is_algorithm_1_of_signsgd_by_hand() -> None:
    """Without noise to speak of: x goes 1, 0.5, 0, with δ = 1/√(L̃₁K) = 0.5; sign(0) is the noise's."""
    task = problems.Problem(
        value=lambda x: 0.5 * np.square(x).sum(-1), gradient=lambda x: x, curvature=np.ones(1),
        sigma=np.full(1, 1e-12), start=np.ones(1),
    )  # fmt: skip
    found = simulate.sign_sgd(task, simulate.NOISES["gaussian"], [1], 4, 3, np.random.default_rng(0))
    # |x| = 1, ½, then 0 and ½, or 0 and −½
    np.testing.assert_allclose(found.l1, (1 + 0.5 + 0 + 0.5) / 4, atol=1e-9)
    np.testing.assert_allclose(found.decrease, 0.5, atol=1e-9)


@pytest.mark.parametrize("law", ["gaussian", "laplace", "exponential", "coin"])
@pytest.mark.parametrize("n", [1, 5])
def test_noise_of_a_mini_batch_has_mean_0_and_variance_1(law: str, n: int) -> None:
    draws = simulate.NOISES[law].draw(np.random.default_rng(0), n, (400_000,))
    assert draws.mean() == pytest.approx(0, abs=0.01)
    assert draws.var() == pytest.approx(1, abs=0.02)


def test_mean_of_laplace_draws_has_their_kurtosis() -> None:
    """Excess 3 for one sample, 3/n for the mean of n."""
    for n in (1, 6):
        draws = simulate.NOISES["laplace"].draw(np.random.default_rng(0), n, (1_000_000,))
        assert (draws**4).mean() - 3 == pytest.approx(3 / n, abs=0.25)


def test_worst_noise_flips_signs_at_the_bound() -> None:
    for g in (0.3, -2.0):
        draws = np.random.default_rng(0).random(500_000)
        signs = simulate.NOISES["worst"].sign(np.full(draws.shape, g), np.ones(1), draws)
        expected = float(equations.gauss_failure_bound(abs(g)))
        assert np.mean(signs != np.sign(g)) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("name", convergence.PROBLEMS)
def test_problems_have_the_gradient_and_the_curvature_that_they_state(name: str) -> None:
    task = convergence.PROBLEMS[name]()
    rng = np.random.default_rng(0)
    x = task.start + rng.standard_normal((200, len(task.start)))
    for i in range(len(task.start)):
        h = np.zeros(len(task.start))
        h[i] = 1e-5
        slope = (task.value(x + h) - task.value(x - h)) / 2e-5
        np.testing.assert_allclose(slope, task.gradient(x)[:, i], atol=1e-6)
    for size in (0.1, 1, 5):
        move = size * rng.standard_normal(x.shape)
        upper = task.value(x) + (task.gradient(x) * move).sum(-1) + 0.5 * (task.curvature * move**2).sum(-1)
        assert (task.value(x + move) <= upper + 1e-12).all()
    assert (task.value(x) >= task.infimum).all()


def test_regression_is_not_convex() -> None:
    task = problems.robust_regression()
    a, b = task.start, task.start + 8
    assert task.value((a + b) / 2) > 0.5 * (task.value(a) + task.value(b))


@pytest.mark.parametrize(
    ("name", "wrong", "claim"),
    [
        ("stationarity_bound", lambda *a, **k: 0.5 * equations.step_size(a[0], a[1]), "theorem1-eq2"),
        ("vanishing_l1_bound", lambda *a: 0.1 * a[-1] / a[1] ** 0.25, "l1-vanishing-bound"),
        ("step_size", lambda l1, steps: 2 / math.sqrt(l1 * steps), "theorem1-constant"),
    ],
)
def test_planted_error_in_theorem_1_is_found(
    name: str, wrong: Any, claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equations, name, wrong)
    if name == "step_size":
        monkeypatch.setattr(simulate, name, wrong)
    frame = pd.DataFrame(lab.run("convergence-from-minimum", steps=(100, 300, 1000), replicates=20))
    assert verdicts(frame)[claim] == "refuted"


def test_planted_error_in_the_null_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations, "null_cosine", lambda beta: math.sqrt(2 / math.pi) * (1 - beta))
    frame = pd.DataFrame(lambda_average._null_cosine(np.random.default_rng(0)))
    assert verdicts(frame)["lambda-null"] == "refuted"


def test_null_model_of_noise_of_one_size_is_too_large_for_uneven_noise() -> None:
    """By Σσ_i/√(dΣσ_i²); the form with ‖g‖₁ is right, and an error of 3 % in it would be found."""
    d = 4_000
    rows = pd.DataFrame(lambda_average._null_uneven(np.random.default_rng(0), d, 32))
    assert verdicts(rows)["lambda-null-uneven"] == "supported"
    sizes = np.logspace(-1, 1, d)
    factor = sizes.sum() / math.sqrt(d * np.square(sizes).sum())
    share = rows[rows["relation"] == "<="].set_index("beta")["value"]
    assert share[0.5] == pytest.approx(factor, rel=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equations, "null_alignment", lambda beta: 1.03 * math.sqrt(1 - beta * beta))
        rows = pd.DataFrame(lambda_average._null_uneven(np.random.default_rng(0), d, 32))
    assert verdicts(rows)["lambda-null-uneven"] == "refuted"


def test_each_negative_control_violates_one_assumption() -> None:
    """Skewness 2/√n and one mode; no skewness and, at n = 1, nothing around the mean."""
    rng = np.random.default_rng(0)
    for n in (1, 4):
        draws = simulate.NOISES["exponential"].draw(rng, n, (400_000,))
        assert (draws**3).mean() == pytest.approx(2 / math.sqrt(n), rel=0.05)
    counts = np.histogram(simulate.NOISES["exponential"].draw(rng, 4, (400_000,)), np.arange(-2, 4, 0.25))[0]
    assert (np.diff(np.sign(np.diff(counts[counts > 0]))) < 0).sum() == 1  # rises, then falls
    draws = simulate.NOISES["coin"].draw(rng, 1, (400_000,))
    assert (draws**3).mean() == pytest.approx(0, abs=0.01)
    assert np.abs(draws).min() == 1


@pytest.mark.slow
def test_noise_beyond_the_assumptions_and_the_literal_reading_of_the_curvature_break_theorem_1(
    quick: dict[str, pd.DataFrame],
) -> None:
    rows = quick["corrections"]
    found = verdicts(rows)
    assert {found[name] for name in ("asymmetric-noise", "bimodal-noise", "lipschitz-reading")} == {"refuted"}
    assert found["theorem1-eq2"] == "supported"  # the same function with the curvature that (4) needs
    noise = rows[rows["claim"] == "asymmetric-noise"].set_index("batch_size")
    assert noise.loc[[1, 4], "fails"].all()
    assert noise.loc[256, "holds"]


@pytest.mark.slow
def test_verdicts_of_the_fast_experiments(quick: dict[str, pd.DataFrame]) -> None:
    rows = statements.judge([rows for name, rows in quick.items() if not name.startswith("convergence")])
    refuted = {row["claim"] for row in rows if row["verdict"] == "refuted"}
    assert refuted == {
        "asymmetric-noise", "bimodal-noise", "lipschitz-reading", "annealing-literal", "annealing-heavy-ball",
        "memory-sgd",
    }  # fmt: skip
    assert {row["verdict"] for row in rows} == {"supported", "refuted"}


def row(relation: tables.Relation, low: float, high: float, bound: float = 1.0) -> tables.Row:
    return tables._row("q", (low + high) / 2, (low, high), relation, bound, "eq6", 0.0, {})


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([row("<=", 0.5, 0.9)], "supported"),
        ([row("<=", 0.5, 1.1)], "unresolved"),
        ([row("<=", 1.05, 1.1)], "refuted"),
        ([row(">=", 1.05, 1.1), row(">=", 0.9, 1.1)], "unresolved"),
        ([row(">=", 1.05, 1.1), row(">=", 0.5, 0.9)], "refuted"),
        ([row("=", 0.9, 1.1)], "supported"),
        ([row("=", 0.9, 0.95)], "refuted"),
    ],
)
def test_verdict_from_rows(rows: list[tables.Row], verdict: str) -> None:
    (found,) = statements.judge([pd.DataFrame(rows)])
    assert found["verdict"] == verdict
    assert found["rows"] == len(rows)


def test_deciding_row_is_the_one_nearest_to_failing() -> None:
    rows = [row("<=", 0.1, 0.2), row("<=", 0.8, 0.9), row("<=", 0.3, 0.4)]
    (found,) = statements.judge([pd.DataFrame(rows)])
    assert found["high"] == 0.9
    (found,) = statements.judge([pd.DataFrame([*rows, row("<=", 1.1, 1.2)])])
    assert (found["high"], found["rows_failed"]) == (1.2, 1)


def test_intervals_cover() -> None:
    """Intervals for bounds cover their mean in 99 % of cases, and those for identities nearly always."""
    rng = np.random.default_rng(0)
    means = [tables.mean("q", rng.standard_normal(24), "<=", 0) for _ in range(2000)]
    assert np.mean([r["low"] <= 0 <= r["high"] for r in means]) == pytest.approx(0.99, abs=0.007)
    rare = [tables.frequency("q", rng.random(1000) < 0.001, 0.001) for _ in range(2000)]
    assert np.mean([r["holds"] for r in rare]) > 0.99
    spread = [tables.variance_ratio("q", rng.standard_normal(50), 1.0, 1.0) for _ in range(2000)]
    assert np.mean([r["holds"] for r in spread]) > 0.995


def test_tables_have_their_schema_and_claims_follow_from_them(tmp_path: Path) -> None:
    paths = []
    for name in ("sign-failure", "dither", "projection"):
        paths.append(tmp_path / f"{name}.parquet")
        lab.write(name, paths[-1])
        table = pq.read_table(paths[-1])
        assert table.schema.names == lab.schema(name).names
        assert table.schema.field("bound").metadata[b"description"]
    lab.write_claims(paths, tmp_path / "claims.parquet")
    claims = pd.read_parquet(tmp_path / "claims.parquet").set_index("claim")
    columns = {"statement", "verdict", "value", "low", "high", "bound", "n"}
    assert columns <= set(claims.columns)
    assert claims.loc["eq6", "verdict"] == "supported"
    assert (claims["rows"] > 0).all()


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(lab.TheoryError, match=r"'dithr': must be one of sign-failure, .*dither"):
        lab.write("dithr", tmp_path / "x.parquet")
    with pytest.raises(lab.TheoryError, match=r"no such table; make it with sign-ablate theory dither --out"):
        lab.write_claims([tmp_path / "dither.parquet"], tmp_path / "x.parquet")
    with pytest.raises(lab.TheoryError, match="no tables given"):
        lab.write_claims([], tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="claim 'eq99' is not in"):
        statements.judge([pd.DataFrame([{**row("=", 1, 1), "claim": "eq99"}])])
