"""Selection of the λ_k to average, and λ̄ of groups and tensors without a λ_k of their own."""

import copy
import math

import pytest
import torch

from sign_ablate.optim import HybridSignSGD
from tests.optim.helpers import equal

SWITCH = 4
FLAGS = [{}, {"foreach": False}, {"foreach": True}, {"capturable": True}]


def parameters(n=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(30, generator=generator)) for _ in range(n)]


def gradient(k, i):
    return torch.randn(30, generator=torch.Generator().manual_seed(100 * k + i)) * (i + 1)


def step(optimizer, k, **changed):
    """One step with the gradients of k; `changed` multiplies that of a parameter: {"p1": 0.0}."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in enumerate(params):
        p.grad = gradient(k, i) * changed.get(f"p{i}", 1.0)
    optimizer.step()


def rate(optimizer, p, k=50):
    """The λ̄ that moves p: one more step."""
    before = p.detach().clone()
    step(optimizer, k)
    return float((before - p.detach()) @ p.grad / (p.grad @ p.grad))


def ratios(ms, gs, rule="paper"):
    """r_k of eq. (12), or of SWATS's rule, over lists of momenta and gradients."""
    s, g = torch.cat(ms).sign().double(), torch.cat(gs).double()
    return float(abs(s @ g) / (g @ g) if rule == "paper" else (s @ s) / abs(s @ g))


def average(values, eta):
    """The bias-corrected average."""
    total = weight = 0.0
    for value in values:
        total, weight = eta * total + (1 - eta) * value, eta * weight + 1 - eta
    return total / weight


@pytest.mark.parametrize("late", [2, SWITCH, SWITCH + 2])
@pytest.mark.parametrize("schedule", ["relative", "frozen"])
def test_a_late_group_has_the_ratio_of_the_others(schedule, late):
    (p, q) = parameters(2)
    optimizer = HybridSignSGD([p], lr=0.01, switch_step=SWITCH, lambda_schedule=schedule)
    for k in range(8):
        if k == late:
            optimizer.add_param_group({"params": [q], "lr": 0.05})
        step(optimizer, k)
    found = rate(optimizer, q)
    assert found == pytest.approx(5 * rate(optimizer, p), rel=1e-4)
    assert abs(found / 0.05 - 1) > 0.2  # not its lr


@pytest.mark.parametrize("scope", ["group", "tensor"])
def test_what_had_no_gradient_before_the_switch_has_the_mean_ratio_of_the_others(scope):
    a, b, late, idle = parameters(4)
    groups = [{"params": [a]}, {"params": [b]}]
    groups[0 if scope == "tensor" else 1]["params"].append(idle)
    optimizer = HybridSignSGD(groups, lr=0.01, switch_step=SWITCH, lambda_scope=scope)
    params = [p for group in groups for p in group["params"]]
    for k in range(SWITCH):
        for i, p in enumerate(params):
            p.grad = None if p is idle else gradient(k, i)
        optimizer.step()
    optimizer.add_param_group({"params": [late], "lr": 0.02})
    rates = {p: rate(optimizer, p) for p in (a, b, late, idle)}
    mean = (rates[a] + rates[b]) / 2
    assert rates[a] != pytest.approx(rates[b], rel=0.1)
    assert rates[late] == pytest.approx(2 * mean, rel=1e-4)
    assert rates[idle] == pytest.approx(mean if scope == "tensor" else rates[b], rel=1e-4)


@pytest.mark.parametrize("late", [2, SWITCH])
@pytest.mark.parametrize("scope", ["global", "group", "tensor"])
def test_a_late_group_resumes_exactly(scope, late):
    options = {"lr": 0.01, "switch_step": SWITCH, "lambda_scope": scope}
    whole = parameters(2)
    optimizer = HybridSignSGD(whole[:1], **options)
    for k in range(SWITCH + 1):
        if k == late:
            optimizer.add_param_group({"params": whole[1:]})
        step(optimizer, k)
    params = [torch.nn.Parameter(p.detach().clone()) for p in whole]
    other = HybridSignSGD([{"params": [p]} for p in params], **options)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for k in range(SWITCH + 1, SWITCH + 4):
        step(optimizer, k)
        step(other, k)
    assert equal(whole, params)


@pytest.mark.parametrize("flag", FLAGS, ids=str)
@pytest.mark.parametrize("rule", ["paper", "swats"])
def test_a_step_without_a_gradient_is_no_observation(rule, flag):
    (p,) = parameters()
    optimizer = HybridSignSGD([p], lr=0.01, switch_step=SWITCH, eta=0.5, lambda_rule=rule, **flag)
    m, observed = torch.zeros(30), []
    for k in range(SWITCH):
        g = gradient(k, 0) * (k != 1)
        m = 0.9 * m + 0.1 * g
        observed += [ratios([m], [g], rule)] if k != 1 else []
        step(optimizer, k, p0=float(k != 1))
        assert float(optimizer.diagnostics()["lambda_skipped"]) == (k >= 1)
        assert float(optimizer.diagnostics()["lambda_k"]) == pytest.approx(0.01 * observed[-1], rel=1e-4)
    assert rate(optimizer, p) == pytest.approx(0.01 * average(observed, 0.5), rel=1e-4)


def test_a_tensor_without_a_gradient_leaves_the_others_alone():
    a, b = parameters(2)
    optimizer = HybridSignSGD([a, b], lr=0.01, switch_step=SWITCH, lambda_scope="tensor")
    for k in range(SWITCH):
        step(optimizer, k, p1=0.0)
    assert float(optimizer.diagnostics()["lambda_skipped"]) == SWITCH
    assert rate(optimizer, b) == pytest.approx(rate(optimizer, a), rel=1e-4)


@pytest.mark.parametrize("flag", FLAGS, ids=str)
@pytest.mark.parametrize("rule", ["paper", "swats"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_stays_out_of_lambda(bad, rule, flag):
    """Its own coordinate becomes NaN, as everywhere; no other one does, at the switch or after it."""
    (p,) = parameters()
    optimizer = HybridSignSGD([p], lr=0.01, switch_step=SWITCH, lambda_rule=rule, **flag)
    for k in range(SWITCH + 2):
        p.grad = gradient(k, 0)
        if k == 2:
            p.grad[7] = bad
            expected = float(optimizer.diagnostics()["lambda_bar"])
        optimizer.step()
    found = optimizer.diagnostics()
    assert p.isnan().nonzero().flatten().tolist() == [7]
    assert float(found["lambda_bar"]) == pytest.approx(expected)
    assert float(found["lambda_skipped"]) == 2  # the momentum of that coordinate stays NaN


@pytest.mark.parametrize("flag", FLAGS, ids=str)
def test_a_gradient_whose_square_overflows_stays_out_of_lambda(flag):
    (p,) = parameters()
    optimizer = HybridSignSGD([p], lr=0.01, switch_step=2, **flag)
    step(optimizer, 0)
    expected = float(optimizer.diagnostics()["lambda_bar"])
    step(optimizer, 1, p0=1e30)
    assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx(expected)
    assert float(optimizer.diagnostics()["lambda_skipped"]) == 1


def test_the_count_is_of_one_lambda_however_many_groups_share_it():
    groups = [{"params": [p]} for p in parameters(3)]
    for scope, count in (("global", 1), ("group", 3), ("tensor", 3)):
        optimizer = HybridSignSGD(copy.deepcopy(groups), lr=0.01, lambda_scope=scope)
        step(optimizer, 0, p0=0.0, p1=0.0, p2=0.0)
        assert float(optimizer.diagnostics()["lambda_skipped"]) == count


def test_diagnostics_are_means_over_the_groups_of_the_scope():
    a, b = parameters(2)
    optimizer = HybridSignSGD([{"params": [a]}, {"params": [b]}], lr=0.01, lambda_scope="group")
    step(optimizer, 0)
    expected = sum(ratios([p.grad], [p.grad]) for p in (a, b)) / 2 * 0.01
    assert float(optimizer.diagnostics()["lambda_k"]) == pytest.approx(expected, rel=1e-5)
    assert float(optimizer.diagnostics()["lambda_bar"]) == pytest.approx(expected, rel=1e-5)


TRIGGERS = {
    "swats": {"trigger": "swats", "tolerance": 1e3},  # met by the second observation, not the first
    "stable": {"trigger": "stable", "tolerance": 1e3, "patience": 2},  # met after three
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_step_without_a_gradient_triggers_nothing(name):
    (p,) = parameters()
    optimizer = HybridSignSGD([p], lr=0.01, **TRIGGERS[name])
    needed = {"swats": 2, "stable": 3}[name]
    for k in range(needed - 1):
        step(optimizer, k)
    for k in range(5):
        step(optimizer, k, p0=0.0)
        assert optimizer.phase() is False
    step(optimizer, 9)
    assert optimizer.phase() is True


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_tensor_that_is_never_observed_holds_up_no_trigger(name):
    """Its λ̄ is δ = 2000 and its λ_k is none."""
    a, b = parameters(2)
    groups = [{"params": [a]}, {"params": [b], "lr": 2000.0}]
    optimizer = HybridSignSGD(groups, lr=0.01, lambda_scope="tensor", **TRIGGERS[name])
    for k in range(4):
        step(optimizer, k, p1=0.0)
    assert optimizer.phase() is True
