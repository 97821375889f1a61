"""Momentum of a parameter that has no gradient when the hybrid switches."""

import pytest
import torch

from sign_ablate.optim import HybridSignSGD

STABLE = {"trigger": "stable", "tolerance": 10.0, "patience": 2}


@pytest.mark.parametrize(
    "more", [{}, {"foreach": True}, {"fused": False, "foreach": False}, {"capturable": True}]
)
def test_a_parameter_without_a_gradient_at_the_switch_loses_its_momentum(more):
    """v starts from 0 in the SGD phase, whenever its first gradient comes."""
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = HybridSignSGD([p, q], lr=0.01, switch_step=3, sgd_momentum="swats", **more)
    for k in range(5):
        p.grad, q.grad = torch.ones(2), None if k == 3 else torch.full((2,), 2.0)
        optimizer.step()
    v = optimizer.state[q]["momentum_buffer"]
    assert v.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize(("switch", "missing"), [(STABLE, {1}), ({"switch_step": 3}, {0, 1})])
def test_momentum_starts_from_0_after_a_switch_without_gradients(switch, missing, capturable):
    params = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = HybridSignSGD(params, lr=0.01, sgd_momentum="swats", capturable=capturable, **switch)

    def step(without):
        for i, p in enumerate(params):
            p.grad = None if i in without else torch.full((2,), 2.0)
        optimizer.step()

    while not optimizer.phase():
        assert optimizer.param_groups[0]["step"] < 10
        step(set())
    step(missing)
    step(set())
    assert optimizer.state[params[1]]["momentum_buffer"].tolist() == [2.0, 2.0]


def test_the_group_of_a_parameter_decides_whether_it_loses_its_momentum_at_the_switch():
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [p]}, {"params": [q], "sgd_momentum": "swats"}]
    optimizer = HybridSignSGD(groups, lr=0.01, switch_step=3)
    for k in range(5):
        p.grad, q.grad = torch.ones(2), None if k == 3 else torch.full((2,), 2.0)
        optimizer.step()
    assert optimizer.state[q]["momentum_buffer"].tolist() == [2.0, 2.0]
