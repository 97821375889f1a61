"""The foreach step: noise of many parameters at once, and few launches."""

import pytest
import torch

from sign_ablate.optim import HybridSignSGD, SignSGD, flat, noise
from sign_ablate.optim.sign_step import foreach, joined, plain
from tests.optim.helpers import SHAPES, equal, momenta, run

PRE = {"dither": "pre", "alpha": 0.1}
NOISY = [
    {**PRE, "seed": -5},
    {**PRE, "alpha": 1e-6, "weight_decay": 0.1},
    {**PRE, "law": "uniform"},
    {**PRE, "law": "subtractive"},
    {**PRE, "dither": "post"},
    {**PRE, "dither": "post", "sign_of_zero": "random"},
    {"sign_of_zero": "random"},
    {**PRE, "capturable": True},
]


@pytest.fixture
def on_any_device(monkeypatch):
    """Step noisy rules by foreach on the CPU too, where the default is the plain step."""
    calls = []
    original = foreach.step

    def all_items(items, const, sums):
        chosen = [(i, x) for i, x in items if x.p.dtype == torch.float32]
        calls.append(len(chosen))
        for (i, _), value in zip(chosen, original([x for _, x in chosen], const), strict=True):
            sums[i] = value
        return []

    monkeypatch.setattr("sign_ablate.optim.signsgd._multi_tensor_signsgd", all_items)
    return calls


@pytest.mark.parametrize("options", NOISY, ids=str)
@pytest.mark.parametrize("most", [joined.MOST, 40, 1])
def test_joined_noise_equals_that_of_single_parameters(options, most, on_any_device, monkeypatch):
    p, one = run(SignSGD, {**options, "foreach": False})
    monkeypatch.setattr(joined, "MOST", most)
    q, two = run(SignSGD, {**options, "foreach": True})
    assert on_any_device == [len(SHAPES) - 1] * 6
    assert equal(p, q)
    assert equal(momenta(one), momenta(two))


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"beta": 0.0},
        {**PRE, "lambda_step": "applied"},
        {**PRE, "lambda_momentum": "previous", "momentum_form": "heavy_ball"},
        {"sgd_momentum": "swats", "weight_decay": 0.1, "decoupled": False},
        {"after": "sign"},
        {"length": "kept"},
        {"lambda_scope": "tensor"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "switch", [{"switch_step": 3}, {"trigger": "stable", "tolerance": 9.0, "patience": 2}]
)
def test_a_phase_that_only_the_device_knows(switch, options, on_any_device):
    """Of many parameters as of one, bit for bit, before, at and after the switch."""
    options = {**options, **switch, "capturable": True, "eta": 0.9}
    p, one = run(HybridSignSGD, {**options, "foreach": False})
    q, two = run(HybridSignSGD, {**options, "foreach": True})
    assert on_any_device == [len(SHAPES) - 1] * 6
    assert two.phase()
    assert equal(p, q)
    assert equal(momenta(one), momenta(two))


@pytest.mark.parametrize("step", [0, 7, 2**31 + 5])
def test_joined_words_are_those_of_noise(step):
    """Of large steps, seeds and parameter numbers."""
    params = [torch.nn.Parameter(torch.ones(n)) for n in (1, 64, 65, 200)]
    optimizer = SignSGD(params, seed=2**63 + 2**31 + 9, **PRE)
    for p in params:
        p.grad = torch.ones_like(p)
    const = optimizer._step_constants({**optimizer.param_groups[0], "step": step})
    items = [plain.Item(p.data, p.grad, None, 7 * i, i, 0) for i, p in enumerate(params)]
    found = joined.apply(lambda _, x: x.words(const, noise.ROUNDING), [x.p for x in items], items)
    for x, words in zip(items, found, strict=True):
        assert torch.equal(words, x.words(const, noise.ROUNDING))


def test_squares_of_many_parameters_are_those_of_each():
    """For the lengths of steps, with the gradient that coupled weight decay gives."""
    params = [torch.nn.Parameter(torch.randn(n)) for n in (1, 3 * flat.CHUNK + 5, 7)]
    optimizer = SignSGD(params, lr=0.1, weight_decay=0.1, decoupled=False)
    items = [plain.Item(p.data, torch.randn(len(p)), None, i, i, 0) for i, p in enumerate(params)]
    const = optimizer._step_constants(optimizer.param_groups[0])
    each = [plain.effective(x, const).square().sum() for x in items]
    torch.testing.assert_close(foreach.squares(items, const), torch.stack(each))


def test_sums_of_many_parameters_are_those_of_each(monkeypatch):
    """The sums for λ as a GPU makes them, in float64, of sizes around a chunk's."""
    sizes = (1, flat.CHUNK - 1, flat.CHUNK, 3 * flat.CHUNK + 5, 7)
    gs = [torch.randn(n, dtype=torch.float64) for n in sizes]
    ss = [torch.randn(n, dtype=torch.float64) for n in sizes]
    ss[-1].zero_()
    items = [plain.Item(g, g, None, i, i, 0) for i, g in enumerate(gs)]
    cpu = foreach._sums(ss, gs, items, True)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("meta"))
    found = foreach._sums(ss, gs, items, True)
    for one, two in zip(found, cpu, strict=True):
        torch.testing.assert_close(one, two)
