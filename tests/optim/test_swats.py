"""SWATS: by hand, against its paper, Adam before its switch and SGD after it."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sign_ablate.optim import SWATS
from tests.optim import oracles
from tests.optim.cases import assert_bitwise, gradients, parameters, train

SHAPES = [(5,), (3, 4)]
DEFAULTS = {"alpha": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-9}


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def _phase(optimizer: SWATS) -> float:
    """The coming step's: the fraction of tensors in the SGD phase."""
    return float(torch.cat([group["switched"] for group in optimizer.param_groups]).float().mean())


def test_four_steps_by_hand() -> None:
    x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SWATS([x], lr=0.5, betas=(0.5, 0.0), eps=0.0)
    path, phases, steps = [], [], []
    for g in (2.0, 4.0, 2.0, 2.0):
        x.grad = torch.full_like(x, g)
        optimizer.step()
        path.append(x.item())
        phases.append(_phase(optimizer))
        steps.append(float(optimizer.diagnostics()["phase"]))
    # β₂ = 0: λ_k is γ_k, so the second step triggers. p = −1/2, −5/12; Λ = γ_2 = 5/48; then v = 2, 3.
    assert path == pytest.approx([-1 / 2, -11 / 12, -49 / 48, -49 / 48 - 15 / 96], abs=1e-15)
    assert phases == [0, 1, 1, 1]
    assert steps == [0, 0, 1, 1]  # the second step was still Adam's
    assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx(5 / 48)
    assert float(optimizer.diagnostics()["gamma_k"]) == pytest.approx(5 / 48)


@pytest.mark.parametrize("tol", [0.0, 3e-4, 1e-2, 1.0])
def test_equals_the_paper(tol: float) -> None:
    """With the gradients in common, over two tensors, through the switch and to the end of the SGD phase."""
    params = parameters(SHAPES, dtype=torch.float64)
    # a common direction plus noise: with pure noise p·g is at times negative, and so is γ
    drift = _flat(gradients(params, 99))
    gs = [(drift + 0.3 * _flat(gradients(params, k))).numpy() for k in range(40)]
    path, switch, big = oracles.swats(_flat(params).numpy(), gs, tol=tol, **DEFAULTS)
    assert (switch is None) == (tol == 0)
    optimizer = SWATS(params, lr=0.01, tol=tol)
    for k, (g, expected) in enumerate(zip(gs, path, strict=True), 1):
        pieces = torch.from_numpy(g).split([p.numel() for p in params])
        for p, piece in zip(params, pieces, strict=True):
            p.grad = piece.view_as(p)
        optimizer.step()
        torch.testing.assert_close(_flat(params), torch.from_numpy(expected), rtol=1e-9, atol=1e-11)
        assert _phase(optimizer) == (switch is not None and k >= switch)
    if switch is not None:
        assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx(big)


@pytest.mark.parametrize("kind", [float, partial(torch.tensor, dtype=torch.float64)], ids=["float", "tensor"])
@pytest.mark.parametrize("rates", [(0.01, 0.002), (0.002, 0.01), (0.01, 0.0), (0.0, 0.01)])
def test_the_rates_of_groups_keep_their_relation(rates: tuple[float, float], kind: Any) -> None:
    """Against the paper's algorithm with one α per coordinate, through the switch and in the SGD phase."""
    params = parameters(SHAPES, dtype=torch.float64)
    sizes = [p.numel() for p in params]
    drift = _flat(gradients(params, 99))
    gs = [(drift + 0.3 * _flat(gradients(params, k))).numpy() for k in range(40)]
    alpha = np.repeat(rates, sizes)
    path, switch, big = oracles.swats(_flat(params).numpy(), gs, tol=3e-4, **{**DEFAULTS, "alpha": alpha})
    assert switch is not None
    optimizer = SWATS(
        [{"params": [p], "lr": kind(lr)} for p, lr in zip(params, rates, strict=True)], tol=3e-4
    )
    for k, (g, expected) in enumerate(zip(gs, path, strict=True), 1):
        for p, piece in zip(params, torch.from_numpy(g).split(sizes), strict=True):
            p.grad = piece.view_as(p)
        optimizer.step()
        torch.testing.assert_close(_flat(params), torch.from_numpy(expected), rtol=1e-7, atol=1e-9)
        assert _phase(optimizer) == (k >= switch)
    assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx((big[0] + big[-1]) / 2, rel=1e-6)


def test_each_tensor_by_itself() -> None:
    params = parameters(SHAPES, dtype=torch.float64)
    drift = gradients(params, 99)
    runs = []
    for i, p in enumerate(params):
        gs = [(drift[i] + 0.3 * gradients(params, k)[i]).numpy() for k in range(40)]
        runs.append(oracles.swats(p.detach().numpy().copy(), gs, tol=3e-4, **DEFAULTS))
    assert runs[0][1] != runs[1][1]
    optimizer = SWATS(params, lr=0.01, tol=3e-4, scope="tensor")
    for k in range(40):
        for p, d, g in zip(params, drift, gradients(params, k), strict=True):
            p.grad = d + 0.3 * g
        optimizer.step()
        for p, (path, _, _) in zip(params, runs, strict=True):
            torch.testing.assert_close(p.detach(), torch.from_numpy(path[k]), rtol=1e-9, atol=1e-11)
        assert _phase(optimizer) == np.mean([s is not None and k + 1 >= s for _, s, _ in runs])


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "maximize": True}])
def test_adam_before_the_switch(options: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    a = SWATS(ours, lr=0.01, tol=0.0, **options)
    b = torch.optim.Adam(theirs, lr=0.01, eps=1e-9, **options)
    for step in range(20):
        train(a, ours, [step])
        for p, g in zip(theirs, gradients(theirs, step), strict=True):
            p.grad = g
        b.step()
        torch.testing.assert_close([p.data for p in ours], [p.data for p in theirs], rtol=1e-5, atol=1e-6)


def test_sgd_after_the_switch() -> None:
    """torch's SGD with momentum β₁ and learning rate (1−β₁)Λ, from zero momentum."""
    params = parameters(SHAPES)
    optimizer = SWATS(params, lr=0.01, tol=1e9)
    train(optimizer, params, range(2))
    assert _phase(optimizer) == 1
    twins = [nn.Parameter(p.detach().clone()) for p in params]
    rate = 0.1 * float(optimizer.diagnostics()["lambda_bar"])
    sgd = torch.optim.SGD(twins, lr=rate, momentum=0.9)
    for step in range(2, 8):
        train(optimizer, params, [step])
        for p, g in zip(twins, gradients(twins, step), strict=True):
            p.grad = g
        sgd.step()
        torch.testing.assert_close([p.data for p in params], [p.data for p in twins], rtol=1e-5, atol=1e-6)


def test_the_first_step_never_switches() -> None:
    """λ_1/(1−β₂) is γ_1 itself: any tolerance would be met."""
    params = parameters()
    optimizer = SWATS(params, lr=0.01, tol=1e9)
    train(optimizer, params, [0])
    assert _phase(optimizer) == 0
    train(optimizer, params, [1])
    assert _phase(optimizer) == 1


def test_the_schedule_scales_the_learned_rate() -> None:
    """lr ×½ after the switch halves the step, and does not touch Λ otherwise."""
    full, half = parameters(SHAPES), parameters(SHAPES)
    a, b = SWATS(full, lr=0.01, tol=1e9), SWATS(half, lr=0.01, tol=1e9)
    train(a, full, range(2))
    train(b, half, range(2))
    start = [p.detach().clone() for p in full]
    b.param_groups[0]["lr"] *= 0.5
    train(a, full, [2])
    train(b, half, [2])
    for x0, p, q in zip(start, full, half, strict=True):
        torch.testing.assert_close(2 * (q.detach() - x0), p.detach() - x0)
    assert float(b.diagnostics()["lambda_bar"]) == pytest.approx(float(a.diagnostics()["lambda_bar"]) / 2)


def test_a_negative_rate_does_not_switch() -> None:
    x = nn.Parameter(torch.zeros(1))
    optimizer = SWATS([x], lr=0.1, betas=(0.99, 0.0), tol=1e9)
    for g in (10.0, -1.0):  # the momentum still points along the first gradient: p·g > 0, γ < 0
        x.grad = torch.tensor([g])
        optimizer.step()
    assert float(optimizer.diagnostics()["gamma_k"]) < 0
    assert _phase(optimizer) == 0


def test_an_orthogonal_step_leaves_lambda() -> None:
    params = parameters(SHAPES)
    optimizer = SWATS(params, lr=0.01, tol=0.0)
    train(optimizer, params, range(3))
    before = optimizer.param_groups[0]["lambda"].clone()
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert_bitwise(optimizer.param_groups[0]["lambda"], before)
    assert optimizer.param_groups[0]["step"] == 4


def test_a_group_added_late_joins_the_phase() -> None:
    params, late = parameters(SHAPES), parameters(SHAPES, seed=1)
    optimizer = SWATS(params, lr=0.01, tol=1e9)
    train(optimizer, params, range(3))
    optimizer.add_param_group({"params": late})
    train(optimizer, params + late, [3])
    assert _phase(optimizer) == 1
    assert optimizer.param_groups[1]["step"] == 4


def test_groups_of_several_dtypes() -> None:
    wide, narrow = parameters(SHAPES, dtype=torch.float64), parameters(SHAPES, dtype=torch.bfloat16)
    optimizer = SWATS([{"params": wide}, {"params": narrow}], lr=0.01, tol=1e9)
    train(optimizer, wide + narrow, range(4))
    assert _phase(optimizer) == 1
    assert [group["lambda"].dtype for group in optimizer.param_groups] == [torch.float64, torch.float32]


def test_diagnostics_before_the_first_step() -> None:
    assert SWATS(parameters()).diagnostics() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -1.0}, "eps must be at least 0, got -1.0"),
        ({"tol": -1.0}, "tol must be at least 0, got -1.0"),
        ({"scope": "layer"}, "scope must be one of 'global', 'tensor'; got 'layer'"),
        ({"betas": (-0.1, 0.9)}, r"betas must be two numbers in \[0, 1\), got \(-0.1, 0.9\)"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SWATS(parameters(), **options)


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_a_gradient_that_is_not_finite_keeps_no_other_tensor_from_its_switch(scope: Any) -> None:
    params = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = SWATS(params, lr=0.01, tol=1e9, scope=scope)
    for k in range(3):
        for p in params:
            p.grad = torch.ones(3)
        if k == 0:
            params[0].grad = torch.tensor([1.0, torch.nan, 1.0])
        optimizer.step()
    assert bool(optimizer.param_groups[0]["switched"][1])
    assert params[0].isnan().any()  # and is not hidden
    assert params[1].isfinite().all()
    assert optimizer.param_groups[0]["lambda"].isfinite().all()


@pytest.mark.parametrize("key", ["gamma", "lambda", "ratio", "switched", "step"])
def test_a_phase_of_swats_without_its_numbers_is_refused_on_load(key: str) -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = SWATS([p], lr=0.1)
    p.grad = torch.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    del state["param_groups"][0][key]
    with pytest.raises(ValueError, match=f"^state of SWATS has '[a-z]*' but no '{key}': .* load a complete"):
        optimizer.load_state_dict(state)
    optimizer.step()  # a refused state leaves the optimizer as it was
    assert optimizer.param_groups[0]["step"] == 2
