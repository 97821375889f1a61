"""The features in the README's table of optimizers that PyTorch's own tests do not cover."""

import math

import pytest
import torch
from torch.nn import Parameter

from tests.optim.optimizer_infos import INFOS


def entries(chosen):
    return pytest.mark.parametrize("info", list(chosen), ids=lambda info: info.name)


STEPS = 7


def gradients(k):
    generator = torch.Generator().manual_seed(k)
    return [torch.randn(shape, generator=generator) for shape in ((8, 5), (5,))]


def parameters():
    return [Parameter(x) for x in gradients(1000)]


@entries(INFOS)
def test_gradscaler(info):
    """The steps of unscaled gradients to the last bit, and none where they are not finite."""
    for i in range(len(info.optim_inputs_func("cpu"))):
        expected, params = parameters(), parameters()
        plain = info.optim_cls(expected, **info.optim_inputs_func("cpu")[i].kwargs)
        scaled = info.optim_cls(params, **info.optim_inputs_func("cpu")[i].kwargs)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, backoff_factor=0.25)
        for k in range(STEPS):
            gs = gradients(k)
            if k == 2:
                gs[0][3, 1] = math.inf
            loss = sum((p * g).sum() for p, g in zip(params, gs, strict=True))
            scaled.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(scaled)
            scaler.update()
            if k != 2:
                for p, g in zip(expected, gs, strict=True):
                    p.grad = g
                plain.step()
        torch.testing.assert_close(params, expected, rtol=0, atol=0)


@entries(info for info in INFOS if info.has_capturable_arg)
def test_capturable(info):
    """The step number is a tensor, and the numbers are those of the other form."""
    for i, entry in enumerate(info.optim_inputs_func("cpu")):
        ends = []
        for flag in (False, True):
            params = parameters()
            kwargs = {**info.optim_inputs_func("cpu")[i].kwargs, "capturable": flag, "foreach": False}
            optimizer = info.optim_cls(params, **kwargs)
            for k in range(STEPS):
                for p, g in zip(params, gradients(k), strict=True):
                    p.grad = g
                optimizer.step()
            assert isinstance(optimizer.param_groups[0]["step"], torch.Tensor) == flag
            ends.append(params)
        torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6, msg=entry.desc)


@entries(info for info in INFOS if "differentiable" in info.supported_impls)
def test_differentiable(info):
    """dx'/dx is 1 where nothing decays, through every step of the sign phase."""
    for entry in info.optim_inputs_func("cpu"):
        leaves = parameters()
        params = [p.clone() for p in leaves]
        optimizer = info.optim_cls(params, **{**entry.kwargs, "differentiable": True})
        for k in range(2):
            for p, g in zip(params, gradients(k), strict=True):
                p.grad = g
            optimizer.step()
        found = torch.autograd.grad(sum(p.sum() for p in params), leaves)
        assert all(x.isfinite().all() and (x != 0).all() for x in found)
        if not entry.kwargs.get("weight_decay"):
            torch.testing.assert_close(found, [torch.ones_like(p) for p in leaves], rtol=0, atol=0)


def test_the_table_of_the_readme_is_that_of_the_tests():
    from tests.optim import support

    assert set().union(*support.ROWS.values()) == {info.name for info in INFOS} - {"UncompressedSGD"}
    text = support.README.read_text()
    assert support.updated(text) == text, "run: python -m tests.optim.support"


def test_the_table_follows_the_entries(monkeypatch):
    """A case fewer, a cell fewer."""
    from tests.optim import support, test_distributed

    assert "Lion" in support._distributed("fsdp")
    assert "Lion" not in support._of(test_capturable)
    cases = {k: v for k, v in test_distributed.CASES.items() if v[0] != "Lion"}
    found = [("kind", ["ddp"]), ("name", list(cases))]
    marks = [pytest.mark.parametrize(*args).mark for args in found]
    monkeypatch.setattr(test_distributed.test_two_processes_make_the_step_of_one, "pytestmark", marks)
    assert "Lion" not in support._distributed("ddp")
    assert support._distributed("fsdp") == set()
