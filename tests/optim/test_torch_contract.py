"""The tests of PyTorch's test/test_optim.py for our optimizers, under the same names.

docs/optim/torch-tests.md has the table. Every test runs over the OptimizerInfo entries and all their
inputs: plain, fused (the default here), foreach and, where the original does, differentiable, as far as the
entry has them.
"""

import copy
import io
import itertools
import sys

import pytest
import torch
from torch import nn
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing._internal.common_optimizers import OptimizerErrorEnum

from tests.optim.optimizer_infos import INFOS, DitheredSignSGD

pytestmark = pytest.mark.slow

CLASSES = pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
FOREACH = pytest.mark.parametrize(
    "info", [info for info in INFOS if "foreach" in info.supported_impls], ids=lambda info: info.name
)


def inputs(info, *, differentiable=False):
    """All keyword arguments: every input by the default implementation, the for-loop and foreach."""
    flags = [{}]
    if "foreach" in info.supported_impls:
        flags += [{"foreach": False}, {"foreach": True}]
    if differentiable and "differentiable" in info.supported_impls:
        flags += [{"differentiable": True}]
    for i, flag in itertools.product(range(len(info.optim_inputs_func("cpu"))), flags):
        yield {**info.optim_inputs_func("cpu")[i].kwargs, **flag}


def skipped(info, test):
    """The reason for which the entry skips this test, as PyTorch's runner would see it."""
    decorators = info.get_decorators("TestOptimRenewed", test, "cpu", torch.float32, {})

    def probe():
        pass

    for decorator in decorators:
        probe = decorator(probe)
    return getattr(probe, "__unittest_skip_why__", None)


def problem(seed=0, *, contiguous=True):
    """weight, bias and a function that makes their gradients and returns the loss."""
    torch.manual_seed(seed)
    shape, cut = ((10, 5), ...) if contiguous else ((10, 5, 2), (..., 0))
    weight = Parameter(torch.randn(shape)[cut])
    bias = Parameter(torch.randn(shape[:1] + shape[2:])[cut])
    x = torch.randn(5)

    def backward():
        weight.grad = bias.grad = None
        loss = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()
        return loss

    return weight, bias, backward


def assert_direction(before, after, kwargs):
    assert after > before if kwargs.get("maximize") else after < before


def named(params, yes):
    return [(f"name{i}", p) for i, p in enumerate(params)] if yes else params


@CLASSES
def test_optim_infos_do_not_specify_global_cliquey_kwargs(info):
    for entry in info.optim_inputs_func("cpu"):
        assert not {"foreach", "fused", "differentiable"} & set(entry.kwargs)


@CLASSES
def test_errors(info):
    for error in info.optim_error_inputs_func("cpu", torch.float32):
        entry = error.optimizer_error_input
        params = entry.params
        assert error.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                info.optim_cls(params, **entry.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                info.optim_cls(params, **entry.kwargs)


@pytest.mark.parametrize(("with_lrsched", "contiguous"), [(True, True), (False, False)])
@CLASSES
def test_forloop_goes_right_direction(info, with_lrsched, contiguous):
    for schedulers in info.scheduler_inputs if with_lrsched else [[]]:
        for kwargs in inputs(info):
            weight, bias, backward = problem(contiguous=contiguous)
            optimizer = info.optim_cls([weight, bias], **kwargs)
            chosen = [make(optimizer) for make in schedulers]
            first = backward().item()
            for _ in range(20):
                loss = optimizer.step(backward)
                for scheduler in chosen:
                    scheduler.step(loss) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
            assert_direction(first, backward().item(), kwargs)


@CLASSES
def test_param_group_with_lrscheduler_goes_right_direction(info):
    for schedulers in info.scheduler_inputs:
        torch.manual_seed(0)
        weights, x = [Parameter(torch.randn(10, 5)) for _ in range(2)], torch.randn(5)
        optimizer = info.optim_cls([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.01}])
        chosen = [make(optimizer) for make in schedulers]

        def closure(weights=weights, x=x, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum(w.mv(x) for w in weights).pow(2).sum()
            loss.backward()
            return loss

        first = closure().item()
        for _ in range(20):
            loss = optimizer.step(closure)
            for scheduler in chosen:
                scheduler.step(loss) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        assert closure().item() < first


@pytest.mark.parametrize("num_dim", [0, 1, 2])
@CLASSES
def test_tensor_lr(info, num_dim):
    for kwargs in inputs(info):
        runs = []
        for lr in (1e-3, torch.tensor(1e-3).reshape([1] * num_dim)):
            weight, bias, backward = problem()
            optimizer = info.optim_cls([weight, bias], **{**kwargs, "lr": lr})
            for _ in range(5):
                backward()
                optimizer.step()
            runs.append((weight, bias))
        torch.testing.assert_close(runs[0], runs[1])


@CLASSES
def test_complex(info):
    for kwargs in inputs(info):
        torch.manual_seed(0)
        mixed = [
            torch.randn(10, 5, dtype=torch.complex64),
            torch.randn(10, dtype=torch.complex64),
            torch.randn(3),
        ]
        mixed = [Parameter(p) for p in mixed]
        real = [
            Parameter(torch.view_as_real(p.detach()).clone() if p.is_complex() else p.detach().clone())
            for p in mixed
        ]
        optimizers = [info.optim_cls(params, **copy.deepcopy(kwargs)) for params in (mixed, real)]
        for _ in range(4):
            for p, q in zip(mixed, real, strict=True):
                q.grad = torch.randn_like(q)
                p.grad = torch.view_as_complex(q.grad.clone()) if p.is_complex() else q.grad.clone()
            for optimizer in optimizers:
                optimizer.step()
        as_real = [torch.view_as_real(p) if p.is_complex() else p for p in mixed]
        torch.testing.assert_close(as_real, real)


@CLASSES
def test_complex_2d(info):
    if reason := skipped(info, "test_complex_2d"):
        pytest.skip(reason)
    for kwargs in inputs(info):
        torch.manual_seed(1)
        both = Parameter(torch.randn(2, dtype=torch.complex64))
        parts = [Parameter(both.detach().real.clone()), Parameter(both.detach().imag.clone())]
        first = info.optim_cls([both], **copy.deepcopy(kwargs))
        second = info.optim_cls(parts, **copy.deepcopy(kwargs))
        for _ in range(3):
            for value, optimizer in ((both, first), (torch.complex(*parts), second)):
                optimizer.zero_grad()
                x, y = value
                ((1 - x) ** 2 + 100 * (y - x**2) ** 2).abs().backward()
                optimizer.step()
            torch.testing.assert_close(torch.view_as_real(both.detach()), torch.stack(parts, -1).detach())


def trained(info, flag, dtype, kwargs):
    """Seven steps with a step without gradients, a frozen layer and a 0-dim parameter."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid()).to(dtype)
    extra = torch.empty((), dtype=dtype).fill_(0.5).requires_grad_()
    extra.grad = torch.full_like(extra, 0.25)
    optimizer = info.optim_cls([*model.parameters(), extra], **copy.deepcopy(kwargs), **flag)
    x = torch.arange(1, 7, dtype=dtype).reshape(3, 2) / 10
    for i in range(7):
        optimizer.zero_grad()
        model[2].requires_grad_(i not in (3, 4))
        if i != 2:
            model(x).sum().backward()
        optimizer.step()
    return list(model.parameters()), optimizer


def assert_same_run(one, other, **tolerance):
    torch.testing.assert_close(one[0], other[0], **tolerance)
    for p, q in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(dict(one[1].state[p]), dict(other[1].state[q]), **tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@FOREACH
def test_foreach_matches_forloop(info, dtype):
    for entry in info.optim_inputs_func("cpu"):
        runs = [trained(info, {"foreach": flag}, dtype, entry.kwargs) for flag in (False, True)]
        assert_same_run(*runs, rtol=0, atol=0)


@FOREACH
def test_set_default_dtype_works_with_foreach(info):
    try:
        for dtype in (torch.float64, torch.float16):
            torch.set_default_dtype(dtype)
            for entry in info.optim_inputs_func("cpu")[1:]:
                runs = [
                    trained(info, {"foreach": flag}, torch.float64, entry.kwargs) for flag in (False, True)
                ]
                assert_same_run(*runs, rtol=0, atol=0)
    finally:
        torch.set_default_dtype(torch.float32)


@FOREACH
def test_fused_matches_forloop(info):
    for entry in info.optim_inputs_func("cpu"):
        runs = [trained(info, flag, torch.float32, entry.kwargs) for flag in ({"foreach": False}, {})]
        exact = "Hybrid" not in info.name  # λ's sums are added in another order
        assert_same_run(*runs, **({"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-7}))


@FOREACH
def test_fused_error_on_params_on_meta(info):
    p = Parameter(torch.ones(2, device="meta"))
    optimizer = info.optim_cls([p], fused=True)
    p.grad = torch.ones_like(p)
    with pytest.raises(
        RuntimeError, match="`fused=True` requires all the params to be floating point Tensors"
    ):
        optimizer.step()


@CLASSES
def test_param_groups_weight_decay(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        groups = [{"params": [weight], **kwargs}, {"params": [bias], **kwargs, "weight_decay": 0.0}]
        optimizer = info.optim_cls(groups)
        first = backward().item()
        for _ in range(20):
            backward()
            optimizer.step()
        assert_direction(first, backward().item(), kwargs)


@CLASSES
def test_param_groups_lr(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        irrelevant = Parameter(torch.randn(2))
        before = irrelevant.detach().clone()
        chosen = {"lr": 1e-3, **kwargs}
        optimizer = info.optim_cls([{"params": [weight, bias], **chosen}, {"params": [irrelevant]}], lr=1e-28)
        first = backward().item()
        for _ in range(20):
            backward()
            irrelevant.grad = torch.rand_like(irrelevant)
            optimizer.step()
        assert_direction(first, backward().item(), kwargs)
        torch.testing.assert_close(irrelevant.detach(), before)


@CLASSES
def test_grads_are_never_inplaced_into(info):
    """Through a switch or a warm-up of the entries' inputs."""
    for kwargs in inputs(info, differentiable=True):
        torch.manual_seed(0)
        params = [Parameter(torch.randn(shape)) for shape in ((4, 3), (), (70_000,))]
        used = [p.clone() for p in params] if kwargs.get("differentiable") else params
        optimizer = info.optim_cls(used, **kwargs)
        for _ in range(6):
            grads = [torch.randn_like(p) for p in params]
            before = [(g.clone(), g._version) for g in grads]
            for p, g in zip(used, grads, strict=True):
                p.grad = g
            optimizer.step()
            for p, g, (values, version) in zip(used, grads, before, strict=True):
                assert p.grad is g
                assert torch.equal(g, values)
                assert g._version == version


@CLASSES
def test_step_is_noop_when_params_have_no_grad(info):
    params = [torch.randn(2, 3) for _ in range(2)]
    before = [p.clone() for p in params]
    for kwargs in inputs(info, differentiable=True):
        info.optim_cls(params, **kwargs).step(lambda: torch.tensor([1.0]))
    assert all(map(torch.equal, params, before))


@CLASSES
def test_step_is_noop_for_zero_grads(info):
    if reason := skipped(info, "test_step_is_noop_for_zero_grads"):
        pytest.skip(reason)
    for kwargs in inputs(info, differentiable=True):
        if kwargs.get("weight_decay"):
            continue
        param = torch.randn(5, 1, requires_grad=True)
        used = param.clone() if kwargs.get("differentiable") else param
        optimizer = info.optim_cls([used], **kwargs)
        used.grad = torch.zeros_like(used)
        before = param.detach().clone()
        optimizer.step(lambda: torch.tensor([1.0]))
        assert torch.equal(used.detach(), before)


@CLASSES
def test_optimizer_can_be_printed(info):
    for kwargs in inputs(info, differentiable=True):
        assert info.name in repr(info.optim_cls([Parameter(torch.randn(2, 3))], **kwargs))


@pytest.mark.parametrize(("is_named_optim0", "is_named_optim1"), [(True, True), (False, False)])
@CLASSES
def test_state_dict_deterministic(info, is_named_optim0, is_named_optim1):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        weight_c, bias_c, backward_c = problem()
        optimizer = info.optim_cls(named([weight, bias], is_named_optim0), **kwargs)
        for _ in range(10):
            optimizer.step(backward)
        with torch.no_grad():
            weight_c.copy_(weight)
            bias_c.copy_(bias)
        other = info.optim_cls(named([weight_c, bias_c], is_named_optim1), **copy.deepcopy(kwargs))
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for _ in range(10):
            optimizer.step(backward)
            other.step(backward_c)
            assert torch.equal(weight, weight_c)
            assert torch.equal(bias, bias_c)
        ours, theirs = optimizer.state_dict(), other.state_dict()
        for group in [*ours["param_groups"], *theirs["param_groups"]]:
            group.pop("param_names", None)
        assert repr(ours) == repr(theirs)
        other.param_groups.extend(other.param_groups)
        assert other.state_dict()["param_groups"][-1]["params"] == ours["param_groups"][-1]["params"]


@CLASSES
def test_can_load_older_state_dict(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        optimizer = info.optim_cls([weight, bias], **kwargs)
        for _ in range(3):
            optimizer.step(backward)
        old = copy.deepcopy(optimizer.state_dict())
        for group in old["param_groups"]:
            for flag in info.not_og_supported_flags:
                group.pop(flag, None)
        optimizer.load_state_dict(old)
        optimizer.step(backward)


@pytest.mark.parametrize("is_named_optim0", [True, False])
@pytest.mark.parametrize("is_named_optim1", [True, False])
@CLASSES
def test_can_load_from_to_named_state_dict(info, is_named_optim0, is_named_optim1):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        first = info.optim_cls(named([weight, bias], is_named_optim0), **kwargs)
        for _ in range(3):
            first.step(backward)
        second = info.optim_cls(named([weight, bias], is_named_optim1), **copy.deepcopy(kwargs))
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        second.step(backward)
        if is_named_optim0 or is_named_optim1:
            assert second.state_dict()["param_groups"][0]["param_names"] == ["name0", "name1"]


@pytest.mark.parametrize("is_named_optim", [True, False])
@CLASSES
def test_save_load_equality_with_weights_only(info, is_named_optim):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        optimizer = info.optim_cls(named([weight, bias], is_named_optim), **kwargs)
        for _ in range(3):
            optimizer.step(backward)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        for weights_only in (True, False):
            file.seek(0)
            loaded = torch.load(file, weights_only=weights_only)
            assert repr(loaded) == repr(optimizer.state_dict())


@CLASSES
def test_load_nontensor_step(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        optimizer = info.optim_cls([weight, bias], **kwargs)
        for _ in range(3):
            optimizer.step(backward)
        state = copy.deepcopy(optimizer.state_dict())
        # ours is in the group, or a number
        for holder in [*state["param_groups"], *state["state"].values()]:
            if "step" in holder:
                holder["step"] = int(holder["step"])
        optimizer.load_state_dict(state)
        optimizer.step(backward)
        found = [int(group["step"]) for group in optimizer.param_groups if "step" in group]
        found += [int(state["step"]) for state in optimizer.state.values() if "step" in state]
        assert set(found) <= {4}


def pre_hook(optimizer):
    optimizer.state["test"] = 1


def post_hook(optimizer, state_dict):
    found = state_dict["state"].pop("test", None)
    state_dict["ran_pre_hook"] = found is not None
    return state_dict


@CLASSES
def test_state_dict_pre_hook(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_state_dict_pre_hook(pre_hook)
        assert optimizer.state_dict()["state"]["test"] == 1


@CLASSES
def test_state_dict_post_hook(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_state_dict_post_hook(post_hook)
        assert optimizer.state_dict()["ran_pre_hook"] is False


@CLASSES
def test_state_dict_pre_post_hook(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_state_dict_pre_hook(pre_hook)
        optimizer.register_state_dict_post_hook(post_hook)
        state = optimizer.state_dict()
        assert state["ran_pre_hook"] is True
        assert "test" not in state["state"]


def set_lr(value):
    def hook(optimizer, state_dict):
        state_dict = copy.deepcopy(state_dict)
        state_dict["param_groups"][0]["lr"] = value
        return state_dict

    return hook


@CLASSES
def test_load_state_dict_pre_hook_and_prepend(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_load_state_dict_pre_hook(set_lr(0.002))
        optimizer.load_state_dict(optimizer.state_dict())
        assert optimizer.param_groups[0]["lr"] == 0.002
        optimizer.register_load_state_dict_pre_hook(set_lr(0.003), prepend=True)
        optimizer.load_state_dict(optimizer.state_dict())
        assert optimizer.param_groups[0]["lr"] == 0.002


def after_load(optimizer):
    optimizer.state["ran_post_hook"] = optimizer.param_groups[0]["lr"]


@CLASSES
def test_load_state_dict_post_hook(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_load_state_dict_post_hook(after_load)
        optimizer.load_state_dict(optimizer.state_dict())
        assert optimizer.state["ran_post_hook"] == optimizer.param_groups[0]["lr"]


@CLASSES
def test_load_state_dict_pre_post_hook(info):
    for kwargs in inputs(info, differentiable=True):
        optimizer = info.optim_cls([Parameter(torch.ones(2))], **kwargs)
        optimizer.register_load_state_dict_pre_hook(set_lr(0.003))
        optimizer.register_load_state_dict_post_hook(after_load)
        optimizer.load_state_dict(optimizer.state_dict())
        assert optimizer.state["ran_post_hook"] == 0.003


@CLASSES
def test_step_post_hook(info):
    for kwargs in inputs(info, differentiable=True):
        calls = []
        optimizer = info.optim_cls([torch.tensor([1.0, 1.0])], **kwargs)
        handle = optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append(1))
        optimizer.step()
        optimizer.step()
        handle.remove()
        optimizer.step()
        assert len(calls) == 2


@CLASSES
def test_step_pre_hook(info):
    for kwargs in inputs(info, differentiable=True):
        calls = []
        optimizer = info.optim_cls([torch.tensor([1.0, 1.0])], **kwargs)
        handle = optimizer.register_step_pre_hook(lambda *_, calls=calls: calls.append(1))
        optimizer.step()
        optimizer.step()
        handle.remove()
        optimizer.step()
        assert len(calls) == 2


@CLASSES
def test_step_all_hooks(info):
    for kwargs in inputs(info, differentiable=True):
        order = []
        optimizer = info.optim_cls([torch.tensor([1.0, 1.0])], **kwargs)
        handles = [
            register_optimizer_step_pre_hook(lambda *_, order=order: order.append(0)),
            register_optimizer_step_post_hook(lambda *_, order=order: order.append(3)),
            optimizer.register_step_pre_hook(lambda *_, order=order: order.append(1)),
            optimizer.register_step_post_hook(lambda *_, order=order: order.append(2)),
        ]
        optimizer.step()
        optimizer.step()
        for handle in handles:
            handle.remove()
        optimizer.step()
        assert order == [0, 1, 2, 3] * 2


@CLASSES
def test_deepcopy_copies_all_public_attrs(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        optimizer = info.optim_cls([weight, bias], **kwargs)
        for _ in range(3):
            optimizer.step(backward)

        def public(obj):
            return {name for name in vars(obj) if not name.startswith("_")}

        assert public(optimizer) == public(copy.deepcopy(optimizer))


@FOREACH
def test_defaults_changed_to_foreach(info, monkeypatch):
    """On CUDA, foreach is the default; here FakeTensors stand in for a GPU."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    from sign_ablate.optim import signsgd

    called = []
    original = signsgd._multi_tensor_signsgd
    monkeypatch.setattr(signsgd, "_multi_tensor_signsgd", lambda *a: called.append(1) or original(*a))
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_foreach_supported_types", [FakeTensor])
    with FakeTensorMode(), torch.device("cuda"):
        p = Parameter(torch.ones(3))
        p.grad = torch.ones_like(p)
        info.optim_cls([p]).step()
    assert called


@CLASSES
def test_non_empty_state(info):
    for kwargs in inputs(info):
        weight, bias, backward = problem()
        optimizer = info.optim_cls([weight, bias], **kwargs)
        optimizer.step(backward)
        assert all(len(state) > 0 for state in optimizer.state.values())


def test_every_skip_is_a_test_of_this_file():
    names = {d.test_name for info in INFOS for d in info.decorators}
    assert names - {"test_peak_memory_foreach"} <= set(globals())
    assert DitheredSignSGD in {info.optim_cls for info in INFOS}
