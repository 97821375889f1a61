"""Reports of users: large buckets, unequal groups, incomplete states, and a switch without gradients."""

import pytest
import torch

from sign_ablate.optim import SWATS, HybridSignSGD, SignSGD
from sign_ablate.optim.compressors import QSGD


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("size", [1, 10, 65, 300, 1000])
def test_a_bucket_larger_than_the_tensor_takes_no_memory_and_changes_no_bit(norm, size):
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    filled = torch.nn.functional.pad(x, (0, 2048 - size))  # as long as its bucket
    compress = QSGD(norm=norm, bucket=2048)
    assert torch.equal(compress(x, 3, 1), compress(filled, 3, 1)[:size])
    message = QSGD(norm=norm, bucket=10**6).encode(x, 3, 1)
    assert max(part.numel() for part in message.parts) < size + 64


@pytest.mark.parametrize("more", [{}, {"capturable": True}])
@pytest.mark.parametrize(
    ("alphas", "sigma"), [((0.0, 0.25), 0.5), ((0.25, 0.0), 0.5), ((0.01, 0.25), 0.3), ((0.0, 0.0), 0.0)]
)
def test_sigma_is_the_mean_over_the_groups_that_dither(alphas, sigma, more):
    params = [torch.nn.Parameter(torch.ones(4)) for _ in alphas]
    groups = [{"params": [p], "alpha": alpha} for p, alpha in zip(params, alphas, strict=True)]
    optimizer = SignSGD(groups, dither="pre", alpha=1.0, **more)
    for p in params:
        p.grad = torch.ones(4)
    optimizer.step()
    assert float(optimizer.diagnostics()["sigma"]) == pytest.approx(sigma)


@pytest.mark.parametrize("key", ["gamma", "lambda", "ratio"])
def test_a_phase_of_swats_without_its_numbers_is_refused_on_load(key):
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = SWATS([p], lr=0.1)
    p.grad = torch.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    del state["param_groups"][0][key]
    with pytest.raises(ValueError, match=f"state of SWATS has 'switched' but no '{key}'"):
        optimizer.load_state_dict(state)
    optimizer.step()  # a refused state leaves the optimizer as it was
    assert optimizer.param_groups[0]["step"] == 2


def test_qsgd_takes_an_empty_tensor():
    compressor = QSGD()
    assert compressor.decode(compressor.encode(torch.empty(0), 1, 0)).shape == (0,)


STABLE = {"trigger": "stable", "tolerance": 10.0, "patience": 2}


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
