"""The contract of torch.optim, for every case of every registered optimizer (cases.py)."""

import copy
import io
import itertools
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sign_ablate.optim import HybridSignSGD
from sign_ablate.optim.base import DeclaredOptimizer
from sign_ablate.optim.options.declare import declared
from tests.optim.cases import CASES, VARIANTS, Make, assert_bitwise, gradients, parameters, train

each = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
#: the cases whose optimizer has the option `maximize`
ASCENDING = {
    name: make
    for name, make in CASES.items()
    if "maximize" in declared(make([nn.Parameter(torch.ones(1))]).options)
}
#: their noise follows the order in memory (test_implementations.py)
DITHERED = {
    case for name in ("dithered", "dithered-hybrid", "linear-twin", "sgd-noise") for case in VARIANTS[name]
}
compressed = [name for name in CASES if "sign" in name or "bit" in name or "topk" in name]


def _state(optimizer: DeclaredOptimizer) -> dict[str, Any]:
    """A snapshot of the state, independent of the optimizer."""
    return copy.deepcopy(optimizer.state_dict())


@each
def test_moves_every_parameter_and_stays_finite(make: Make) -> None:
    params = parameters()
    before = [p.detach().clone() for p in params]
    train(make(params), params, range(6))
    for old, p in zip(before, params, strict=True):
        assert torch.isfinite(p).all()
        assert p.numel() == 0 or not torch.equal(old, p)


@each
def test_closure_runs_with_gradients_and_its_loss_is_returned(make: Make) -> None:
    params = parameters([(4,)])
    optimizer = make(params)

    def closure() -> float:
        optimizer.zero_grad()
        loss = params[0].square().sum()
        assert loss.requires_grad
        loss.backward()
        return loss.item()

    expected = params[0].square().sum().item()
    assert optimizer.step(closure) == expected
    assert optimizer.step() is None


@each
def test_split_groups_change_nothing(make: Make) -> None:
    one, many = parameters(), parameters()
    a = train(make(one), one, range(6))
    b = train(make([{"params": many[:2]}, {"params": [many[2]]}, {"params": many[3:]}]), many, range(6))
    # SWATS sums over groups in another order
    exact = not any("ratio" in group for group in make(parameters()).param_groups)
    torch.testing.assert_close(a, b, **({"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}))


@each
def test_an_empty_group_is_harmless(make: Make) -> None:
    params = parameters()
    optimizer = make([{"params": []}, {"params": params}])
    train(optimizer, params, range(4))
    assert all(torch.isfinite(p).all() for p in params)
    getattr(optimizer, "diagnostics", dict)()


@each
def test_a_group_overrides_options(make: Make) -> None:
    params, still = parameters(), parameters()
    optimizer = make([{"params": params}, {"params": still, "lr": 0.0}])
    train(optimizer, params + still, range(4))
    assert_bitwise(still, parameters())
    assert not torch.equal(params[4], still[4])


@pytest.mark.parametrize("make", ASCENDING.values(), ids=ASCENDING.keys())
def test_maximize_is_descent_on_the_negated_gradient(make: Make) -> None:
    up, down = parameters(), parameters()
    ascent, descent = make(up, maximize=True), make(down)
    for step in range(6):
        for p, q, g in zip(up, down, gradients(up, step), strict=True):
            p.grad, q.grad = g, -g
        given = [p.grad.clone() for p in up]
        ascent.step()
        descent.step()
        assert_bitwise([p.grad for p in up], given)
        assert_bitwise([p.data for p in up], [q.data for q in down])


@each
def test_gradients_are_not_written_to(make: Make) -> None:
    params = parameters()
    optimizer = make(params, weight_decay=0.1)
    for step in range(5):
        train(optimizer, params, [step])
        assert_bitwise([p.grad for p in params], gradients(params, step))


@each
def test_no_gradient_is_no_step(make: Make) -> None:
    params = parameters()
    optimizer = make(params)
    optimizer.step()
    assert not optimizer.state
    train(optimizer, params, range(2))
    before = _state(optimizer)
    params[3].grad, frozen = None, params[3].detach().clone()
    for other in (0, 1, 2, 4, 5):
        params[other].grad = gradients(params, 2)[other]
    optimizer.step()
    assert_bitwise(params[3].data, frozen)
    after = _state(optimizer)["state"].get(3, {})
    # SWATS restarts all momenta at its switch
    assert {k: v for k, v in after.items() if k == "step"} == {
        k: v for k, v in before["state"].get(3, {}).items() if k == "step"
    }


@each
def test_sparse_gradients_are_refused_before_anything_moves(make: Make) -> None:
    params = parameters([(3,), (3,)])
    params[0].grad = torch.ones(3)
    params[1].grad = torch.ones(3).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        make(params).step()
    assert_bitwise(params[0].data, parameters([(3,), (3,)])[0].data)


@each
def test_complex_parameters_are_pairs_of_reals(make: Make) -> None:
    shapes = [(), (0,), (3,)]
    pairs = [
        nn.Parameter(torch.view_as_real(p.detach()).clone())
        for p in parameters(shapes, dtype=torch.complex64)
    ]
    numbers = parameters(shapes, dtype=torch.complex64)
    a, b = make(numbers, weight_decay=0.1), make(pairs, weight_decay=0.1)
    for step in range(6):
        for z, x, g in zip(numbers, pairs, gradients(numbers, step), strict=True):
            z.grad, x.grad = g, torch.view_as_real(g).clone()
        a.step()
        b.step()
        assert_bitwise([torch.view_as_real(z.detach()) for z in numbers], [x.data for x in pairs])
    assert all(
        v.dtype == torch.complex64 for v in a.state[numbers[2]].values() if isinstance(v, torch.Tensor)
    )


@pytest.mark.parametrize("name", [name for name in CASES if name not in DITHERED])
def test_non_contiguous_parameters(name: str) -> None:
    make = CASES[name]
    values = parameters([(4, 3)])[0].detach()
    plain, strided = nn.Parameter(values.clone()), nn.Parameter(values.t().contiguous().t())
    assert not strided.is_contiguous()
    a, b = train(make([plain]), [plain], range(6)), train(make([strided]), [strided], range(6))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)  # a sum over other strides may round otherwise


@each
def test_tensor_lr(make: Make) -> None:
    shapes = [(), (5,), (3, 4)]
    params, same = parameters(shapes), parameters(shapes)
    a = train(make(params, lr=0.02), params, range(6))
    b = train(make(same, lr=torch.tensor([0.02])), same, range(6))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@each
def test_a_scheduler_acts(make: Make) -> None:
    params, same = parameters(), parameters()
    optimizer, constant = make(params, lr=0.02), make(same, lr=0.02)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 if k < 3 else 0.25)
    for step in range(6):
        train(optimizer, params, [step])
        scheduler.step()
        train(constant, same, [step])
        assert torch.equal(params[4], same[4]) == (step < 3)
    assert optimizer.param_groups[0]["lr"] == 0.005


@pytest.mark.slow
@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(make: Make, dtype: torch.dtype) -> None:
    params = parameters(dtype=dtype)
    optimizer = make(params, lr=0.1)
    train(optimizer, params, range(6))
    assert all(p.dtype == dtype and torch.isfinite(p).all() for p in params)
    buffers = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
    assert all(b.dtype == dtype for b in buffers)


@each
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_gradient_is_not_hidden(make: Make, bad: float) -> None:
    params = parameters([(3, 4)])
    optimizer = make(params)
    train(optimizer, params, range(4))
    for later in range(2):
        params[0].grad = gradients(params, 4)[0]
        if later == 0:
            params[0].grad[1, 2] = bad
        optimizer.step()
    assert not torch.isfinite(params[0][1, 2])


@pytest.mark.slow
@each
def test_no_step_reads_from_the_device(make: Make) -> None:
    """On the meta device every read, such as `.item()` or a branch on a tensor, raises."""
    for lr in (0.01, torch.tensor(0.01, device="meta")):
        params = [nn.Parameter(p.detach().to("meta")) for p in parameters([(), (0,), (3, 4)])]
        optimizer = make(params, lr=lr, weight_decay=0.1)
        for _ in range(5):
            for p in params:
                p.grad = torch.empty_like(p)
            optimizer.step()


@pytest.mark.slow
@each
def test_resume_at_every_step_is_exact(make: Make) -> None:
    """Through a file that `weights_only` reads; the cases change phase at the second or third step."""
    whole = parameters()
    expected = train(make(whole), whole, range(7))
    params = parameters()
    optimizer = make(params)
    for step in range(7):
        file = io.BytesIO()
        torch.save({"model": params, "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        params = [nn.Parameter(p) for p in saved["model"]]
        optimizer = make(params)
        optimizer.load_state_dict(saved["optimizer"])
        assert_bitwise(train(optimizer, params, [step])[0], expected[step])


@each
def test_state_dict_survives_other_dtypes(make: Make) -> None:
    """bf16: what must keep its precision is not in the state that load_state_dict casts."""
    params, copies = parameters(dtype=torch.bfloat16), parameters(dtype=torch.bfloat16)
    optimizer, other = make(params), make(copies)
    train(optimizer, params, range(5))
    other.load_state_dict(_state(optimizer))
    assert_bitwise(_state(other), _state(optimizer))


@each
def test_deepcopy_and_pickle(make: Make) -> None:
    params = parameters([(3, 4)])
    optimizer = make(params)
    train(optimizer, params, range(3))
    for clone in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        theirs = clone.param_groups[0]["params"]
        ours = parameters([(3, 4)])
        for mine, value in zip(ours, params, strict=True):
            mine.data.copy_(value)
        same = make(ours)
        same.load_state_dict(_state(optimizer))
        assert_bitwise(train(clone, theirs, [3]), train(same, ours, [3]))


@each
def test_snapshots_stay_as_they_were(make: Make) -> None:
    params = parameters()
    optimizer = make(params)
    if isinstance(optimizer, HybridSignSGD):
        pytest.skip("keeps its averages in place, for CUDA graphs")
    train(optimizer, params, range(3))
    groups = optimizer.state_dict()["param_groups"]
    before = copy.deepcopy(groups)
    train(optimizer, params, range(3, 5))
    assert_bitwise(groups, before)


@each
def test_named_parameters(make: Make) -> None:
    plain, named = parameters(), parameters()
    optimizer = make([(f"p{i}", p) for i, p in enumerate(named)])
    assert_bitwise(train(optimizer, named, range(4)), train(make(plain), plain, range(4)))
    assert optimizer.param_groups[0]["param_names"][0] == "p0"


@each
def test_weight_decay_acts(make: Make) -> None:
    params, decayed = parameters(), parameters()
    train(make(params), params, range(3))
    train(make(decayed, weight_decay=0.5), decayed, range(3))
    assert not torch.equal(params[4], decayed[4])


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"lr": torch.ones(2)}, "Tensor lr must be 1-element"),
        ({"weight_decay": -0.5}, "weight_decay must be at least 0, got -0.5"),
    ],
)
def test_bad_arguments(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(parameters(), **options)
    with pytest.raises(ValueError, match=f"^{message}$"):  # in a group, too
        make([{"params": parameters(), **options}])
    optimizer = make(parameters())
    with pytest.raises(ValueError, match=f"^{message}$"):
        optimizer.add_param_group({"params": parameters(), **options})
    assert len(optimizer.param_groups) == 1


@each
def test_a_group_added_late(make: Make) -> None:
    params, late = parameters(), parameters(seed=1)
    optimizer = make(params)
    train(optimizer, params, range(5))
    optimizer.add_param_group({"params": late})
    train(optimizer, params + late, range(5, 8))
    assert all(torch.isfinite(p).all() for p in late)
    assert not torch.equal(late[4], parameters(seed=1)[4])


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CASES)),
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.complex64]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    maximize=st.booleans(),
)
def test_any_shape_dtype_and_option(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, weight_decay: float, maximize: bool
) -> None:
    params = parameters([shape], dtype=dtype)
    more = {"maximize": maximize} if name in ASCENDING else {}
    train(CASES[name](params, weight_decay=weight_decay, **more), params, range(5))
    assert params[0].shape == shape
    assert params[0].dtype == dtype
    assert torch.isfinite(torch.view_as_real(params[0].detach()) if dtype.is_complex else params[0]).all()


@pytest.mark.parametrize("name", compressed)
def test_zero_gradients_are_no_step(name: str) -> None:
    """A zero gradient without decay leaves a new optimizer's parameters alone, as with torch.optim's own."""
    params = parameters()
    optimizer = CASES[name](params)
    for _, p in itertools.product(range(2), params):
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert_bitwise([p.data for p in params], [p.data for p in parameters()])


@pytest.mark.parametrize(
    ("make", "options"),
    [
        *(pytest.param(make, {}, id=name) for name, make in CASES.items()),
        *(pytest.param(make, {"maximize": True}, id=f"{name}-maximize") for name, make in ASCENDING.items()),
    ],
)
def test_conjugated_gradients(make: Make, options: dict[str, Any]) -> None:
    g = torch.randn(5, dtype=torch.complex64)
    out = []
    for gradient in (g.conj(), g.conj().resolve_conj()):
        p = nn.Parameter(torch.ones(5, dtype=torch.complex64))
        p.grad = gradient
        make([p], **options).step()
        out.append(p.detach())
    assert torch.equal(*out)
