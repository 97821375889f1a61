"""1-bit Adam: by hand, against its paper, and Adam while it warms up."""

from typing import Any

import pytest
import torch
from torch import nn

from sign_ablate.optim import OneBitAdam
from tests.optim import oracles
from tests.optim.cases import assert_bitwise, gradients, parameters, train


def test_four_steps_by_hand() -> None:
    x = nn.Parameter(torch.zeros(2))
    optimizer = OneBitAdam([x], lr=1.0, betas=(0.5, 0.75), warmup_steps=1, eps=0.0, norm="l1")
    path = []
    for g in ([2.0, 4.0], [1.0, -4.0], [5.0, -1.0], [0.0, 4.0]):
        x.grad = torch.tensor(g)
        optimizer.step()
        path.append(x.tolist())
    # √v = (1,2). m = (1,2); (1,−1) sent exactly; (3,−1) → (2,−2), e = (1,1); (1,1) + e → (2,2)
    assert path == [[-1, -1], [-2, -0.5], [-4, 0.5], [-6, -0.5]]
    assert optimizer.state[x]["error"].tolist() == [0, 0]


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("warmup", [1, 4, 20])
def test_equals_the_paper(correct: bool, warmup: int) -> None:
    (x,) = parameters([(3, 4)], dtype=torch.float64)
    gs = [gradients([x], k)[0].numpy() for k in range(10)]
    start = x.detach().numpy().copy()
    rest = {"lr": 0.02, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    expected = oracles.onebit_adam(start, gs, warmup=warmup, correct=correct, **rest)
    got = train(OneBitAdam([x], 0.02, warmup_steps=warmup, bias_correction=correct), [x], range(10))
    for (mine,), theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(theirs), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True, "maximize": True}]
)
def test_the_warm_up_is_adam(options: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    a = OneBitAdam(ours, lr=0.01, warmup_steps=6, bias_correction=True, **options)
    renamed = {"decoupled_weight_decay" if k == "decoupled" else k: v for k, v in options.items()}
    b = torch.optim.Adam(theirs, lr=0.01, foreach=False, **renamed)
    for step in range(8):
        train(a, ours, [step])
        for p, g in zip(theirs, gradients(theirs, step), strict=True):
            p.grad = g
        b.step()
        if step < 6:
            assert_bitwise([p.data for p in ours], [p.data for p in theirs])
        else:
            assert not torch.equal(ours[4], theirs[4])


def test_the_variance_freezes_and_the_momentum_is_one_bit() -> None:
    params = parameters()
    optimizer = OneBitAdam(params, lr=0.01, warmup_steps=3)
    train(optimizer, params, range(3))
    frozen = optimizer.state[params[4]]["exp_avg_sq"].clone()
    assert not optimizer.state[params[4]]["error"].any()
    train(optimizer, params, range(3, 6))
    assert_bitwise(optimizer.state[params[4]]["exp_avg_sq"], frozen)
    assert len(optimizer.state[params[4]]["exp_avg"].abs().unique()) == 1


def test_a_coordinate_without_gradient_stays() -> None:
    """sign(0) = 0 does what DeepSpeed needs a momentum mask for."""
    x = nn.Parameter(torch.ones(3))
    optimizer = OneBitAdam([x], lr=0.01, warmup_steps=2)
    for _ in range(6):
        x.grad = torch.tensor([1.0, 0.0, -2.0])
        optimizer.step()
    assert x[1] == 1
    assert optimizer.state[x]["error"][1] == 0


def test_the_hazard_of_a_zero_variance() -> None:
    """A first gradient after the warm-up is divided by eps alone; the documented answer is a larger eps."""
    moved = []
    for eps in (1e-8, 1e-2):
        x = nn.Parameter(torch.zeros(2))
        optimizer = OneBitAdam([x], lr=0.01, warmup_steps=2, eps=eps)
        for late in (0.0, 0.0, 1.0):
            x.grad = torch.tensor([1.0, late])
            optimizer.step()
        moved.append(x[1].abs().item())
    assert moved[0] > 1e4
    assert moved[1] < 1


def test_a_late_parameter_warms_up_too() -> None:
    early, late, alone = parameters([(5,)]) + parameters([(5,)], seed=1) + parameters([(5,)], seed=1)
    optimizer, twin = (OneBitAdam(params, lr=0.01, warmup_steps=3) for params in ([early, late], [alone]))
    train(optimizer, [early], range(4))
    for step in range(6):
        early.grad = late.grad = alone.grad = gradients([late], step)[0]
        optimizer.step()
        twin.step()
        assert_bitwise(late.data, alone.data)
        assert optimizer.state[late]["error"].any() == (step >= 3)
    assert torch.isfinite(late).all()


def test_diagnostics() -> None:
    params = parameters()
    optimizer = OneBitAdam(params, warmup_steps=2)
    assert optimizer.diagnostics() == {}
    phases = []
    for step in range(4):
        train(optimizer, params, [step])
        phases.append(optimizer.diagnostics()["phase"])
    assert phases == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_steps": 0}, "warmup_steps must be at least 1, got 0"),
        ({"decoupled": True}, "decoupled has no effect without weight_decay"),
        ({"eps": -1e-8}, "eps must be at least 0, got -1e-08"),
        ({"norm": "max"}, "norm must be one of 'l1', 'l2'; got 'max'"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        OneBitAdam(parameters(), **{"warmup_steps": 3, **options})
