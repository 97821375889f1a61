"""torch.distributed.checkpoint.state_dict saves and loads the optimizers: docs/optim/checkpoints.md."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from sign_ablate.optim import HybridSignSGD, LinearTwin, NoisySGD, OneBitAdam, SignSGD

SWITCHING: dict[str, Any] = {"lr": 0.01, "dither": "pre", "alpha": 0.1}
METHODS: dict[str, Any] = {
    "signsgd": lambda params: SignSGD(params, beta=0.0, dither="pre", alpha=0.1),
    "signsgd-m": lambda params: SignSGD(params, dither="pre", alpha=0.1),
    "hybrid": lambda params: HybridSignSGD(params, beta=0.0, switch_step=4, **SWITCHING),
    "onebit-adam": lambda params: OneBitAdam(params, lr=0.01, warmup_steps=2),
    "sgd-noise": lambda params: NoisySGD(params, lr=0.1, alpha=0.1),
    "linear-twin": lambda params: LinearTwin(params, lr=0.1, beta=0.0, alpha=0.1, noise=True),
}
each = pytest.mark.parametrize("name", METHODS)


def _start(name: str) -> tuple[nn.Module, Any]:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    return model, METHODS[name](model.parameters())


def _train(model: nn.Module, optimizer: Any, steps: range) -> None:
    for k in steps:
        for i, p in enumerate(model.parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * k + i))
        optimizer.step()
        optimizer.zero_grad()


@each
def test_reading_the_state_changes_nothing(name: str) -> None:
    ends = []
    for reads in (False, True):
        model, optimizer = _start(name)
        for k in range(6):
            _train(model, optimizer, range(k, k + 1))
            if reads:
                get_optimizer_state_dict(model, optimizer)
        ends.append([p.detach() for p in model.parameters()])
    assert all(map(torch.equal, *ends))


@each
@pytest.mark.parametrize("flatten", [False, True])
def test_a_state_is_loaded_without_loss(name: str, flatten: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    model, optimizer = _start(name)
    _train(model, optimizer, range(4))
    weights = copy.deepcopy(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    _train(model, optimizer, range(4, 8))
    other, resumed = _start(name)
    set_optimizer_state_dict(other, resumed, saved, options=options)
    other.load_state_dict(weights)
    _train(other, resumed, range(4, 8))
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_state_of_the_plateau_trigger_is_loaded() -> None:
    """The step with lr 0 that creates the state has no loss, and is no observation of one."""

    def start() -> tuple[nn.Module, HybridSignSGD]:
        model = nn.Linear(3, 2)
        return model, HybridSignSGD(model.parameters(), trigger="plateau", tolerance=0.1, patience=2)

    model, optimizer = start()
    for loss in (2.0, 1.0):
        optimizer.report_loss(loss)
        _train(model, optimizer, range(1))
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    other, resumed = start()
    set_optimizer_state_dict(other, resumed, saved)
    one, two = (opt.param_groups[0]["trigger_state"] for opt in (optimizer, resumed))
    assert {k: v if v is None else v.item() for k, v in two.items()} == {
        k: v if v is None else v.item() for k, v in one.items()
    }
