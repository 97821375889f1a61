"""The OptimizerInfo entries, with the checks of PyTorch's test_optim.py that apply to a plain loop."""

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from tests.optim_kin.optimizer_infos import ALL, KIN

each = pytest.mark.parametrize("make", [make for _, make in ALL], ids=[name for name, _ in ALL])
Make = partial[torch.optim.Optimizer]


@pytest.mark.parametrize("info", KIN, ids=lambda info: info.optim_cls.__name__)
def test_errors(info: Any) -> None:
    for case in info.optim_error_inputs_func("cpu", torch.float32):
        given = case.optimizer_error_input
        params = [nn.Parameter(torch.randn(1, 1))] if given.params is None else given.params
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(case.error_type, match=case.error_regex):
                info.optim_cls(params, **given.kwargs)


@each
@pytest.mark.parametrize("scheduled", [False, True])
def test_goes_in_the_right_direction(make: Make, scheduled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (nn.Parameter(torch.randn(s, generator=generator)) for s in [(10, 5), (10,)])
    inputs = torch.randn(5, generator=generator)
    optimizer = make([{"params": [weight]}, {"params": [bias], "lr": 0.005}])
    schedulers: list[Any] = [StepLR(optimizer, 10, 0.9), ReduceLROnPlateau(optimizer)] if scheduled else []
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (weight @ inputs + bias).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        for scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(loss.item())
            else:
                scheduler.step()
    if optimizer.param_groups[0]["maximize"]:
        assert losses[-1] > losses[0]
    else:
        assert losses[-1] < losses[0]


@each
def test_printed_hooked_and_restored(make: Make) -> None:
    params = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    optimizer = make(params)
    assert type(optimizer).__name__ in repr(optimizer)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    for p in params:
        p.grad = torch.rand_like(p)
    optimizer.step()
    assert calls == ["pre", "post"]
    assert all(len(state) > 0 for state in optimizer.state.values())
    clone = copy.deepcopy(optimizer)
    assert {k for k in vars(clone) if k[0] != "_"} == {k for k in vars(optimizer) if k[0] != "_"}
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["lr"] = 0.125
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize("make", [make for _, make in ALL if not make.keywords.get("weight_decay")])
def test_zero_gradients(make: Make) -> None:
    params = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(()))]
    before = [p.detach().clone() for p in params]
    optimizer = make(params)
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))
