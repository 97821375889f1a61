"""CompressedSGD: the papers' trajectories, SGD as its limit, and what error feedback conserves."""

from typing import Any

import pytest
import torch
from torch import nn

from sign_ablate.optim import QSGD, CompressedSGD, OneBit, ScaledSign, TernGrad, TopK, noise
from sign_ablate.optim.compressors import Compressor
from tests.optim import oracles
from tests.optim.cases import COMPRESSORS, assert_bitwise, gradients, parameters, train

each = pytest.mark.parametrize("compressor", COMPRESSORS.values(), ids=COMPRESSORS.keys())


def _path(optimizer: CompressedSGD, x: nn.Parameter, gs: list[list[float]]) -> list[list[float]]:
    path = []
    for g in gs:
        x.grad = torch.tensor(g, dtype=x.dtype)
        optimizer.step()
        path.append(x.tolist())
    return path


def test_ef_signsgd_by_hand() -> None:
    x = nn.Parameter(torch.zeros(2))
    optimizer = CompressedSGD([x], lr=1.0, compressor=ScaledSign(), error_feedback=True)
    # p = (3,−1), (1,1), (1,2); e = (1,1), (0,0), (−½,½)
    assert _path(optimizer, x, [[3, -1], [0, 0], [1, 2]]) == [[-2, 2], [-3, 1], [-4.5, -0.5]]
    assert optimizer.state[x]["error"].tolist() == [-0.5, 0.5]


def test_scaled_sign_by_hand() -> None:
    x = nn.Parameter(torch.zeros(2))
    optimizer = CompressedSGD([x], lr=0.5, compressor=ScaledSign())
    assert _path(optimizer, x, [[3, -1], [0, 0], [1, 2]]) == [[-1, 1], [-1, 1], [-1.75, 0.25]]


def test_topk_by_hand() -> None:
    x = nn.Parameter(torch.zeros(2))
    optimizer = CompressedSGD([x], lr=1.0, compressor=TopK(0.5), error_feedback=True)
    # p = (3,1), (1,2), (1,½)
    assert _path(optimizer, x, [[3, 1], [1, 1], [0, 0.5]]) == [[-3, 0], [-3, -2], [-4, -2]]


def test_one_bit_sgd_by_hand() -> None:
    x = nn.Parameter(torch.zeros(3))
    optimizer = CompressedSGD([x], lr=1.0, compressor=OneBit(), error_feedback=True)
    # p = (1,3,−1) → (2,2,−1), e = (−1,1,0); p = (−1,1,2) → (−1,1½,1½), e = (0,−½,½); p = (0,½,½) → ⅓ each
    path = _path(optimizer, x, [[1, 3, -1], [0, 0, 2], [0, 1, 0]])
    assert path[:2] == [[-2, -2, 1], [-1, -3.5, -0.5]]
    torch.testing.assert_close(torch.tensor(path[2]), torch.tensor(path[1]) - 1 / 3)


def test_momentum_by_hand() -> None:
    for after, expected in [
        # before: m = (2,0), (1,2), (½,3); top-1 of it
        (False, [[-2, 0], [-2, -2], [-2, -5]]),
        # after: C = (2,0), (0,2), (0,2); v = (2,0), (1,2), (½,3)
        (True, [[-2, 0], [-3, -2], [-3.5, -5]]),
    ]:
        x = nn.Parameter(torch.zeros(2))
        optimizer = CompressedSGD([x], lr=1.0, compressor=TopK(0.5), momentum=0.5, momentum_after=after)
        assert _path(optimizer, x, [[2, 0], [0, 2], [0, 2]]) == expected


def _oracle(name: str, shape: tuple[int, int]) -> oracles.Compress:
    def u(k: int, size: tuple[int, ...] = shape) -> Any:
        return noise.uniform(torch.Size(size), 5, k, 0, torch.device("cpu")).double().numpy()

    return {
        "scaled-sign": oracles.scaled_sign,
        "one-bit": oracles.one_bit,
        "one-bit-tensor": lambda x, k: oracles.one_bit(x.reshape(-1, 1)).reshape(x.shape),
        "qsgd": lambda x, k: oracles.qsgd(x, u(k), 3, float("inf"), 4),
        "qsgd-l2": lambda x, k: oracles.qsgd(x, u(k), 2, 2, x.size),
        "terngrad": lambda x, k: oracles.terngrad(x, u(k), 2.5),
        "terngrad-unclipped": lambda x, k: oracles.terngrad(x, u(k), None),
        "topk": lambda x, k: oracles.top_k(x, 0.3),
    }[name]


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("feedback", [False, True])
def test_equals_the_paper_under_a_schedule(name: str, feedback: bool) -> None:
    (x,) = parameters([(6, 4)], dtype=torch.float64)
    gs = [gradients([x], k)[0] for k in range(8)]
    lrs = [0.1, 0.1, 0.3, 0.3, 0.3, 0.05, 0.05, 0.0]
    run = oracles.ef_sgd if feedback else oracles.compressed_sgd
    expected = run(x.detach().numpy().copy(), [g.numpy() for g in gs], lrs, _oracle(name, (6, 4)))
    optimizer = CompressedSGD([x], compressor=COMPRESSORS[name], error_feedback=feedback)
    for g, lr, theirs in zip(gs, lrs, expected, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        x.grad = g
        optimizer.step()
        torch.testing.assert_close(x.detach(), torch.from_numpy(theirs), rtol=1e-12, atol=1e-12)


@each
def test_nothing_is_lost(compressor: Compressor) -> None:
    """Applied steps and the residual sum to the uncompressed steps, whatever the schedule."""
    params = parameters(dtype=torch.float64)
    start = [p.detach().clone() for p in params]
    optimizer = CompressedSGD(params, compressor=compressor, error_feedback=True)
    sums = [torch.zeros_like(p) for p in params]
    for step in range(10):
        optimizer.param_groups[0]["lr"] = lr = 0.1 / (1 + step)
        torch._foreach_add_(sums, gradients(params, step), alpha=lr)
        train(optimizer, params, [step])
        for p, x0, total in zip(params, start, sums, strict=True):
            applied = x0 - p.detach()
            torch.testing.assert_close(applied + optimizer.state[p]["error"], total, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@each
def test_error_feedback_converges(compressor: Compressor) -> None:
    """Least squares with small and large coordinates: the small ones are found, too."""
    target = torch.tensor([1.0, 0.01, -0.5, 0.02], dtype=torch.float64)
    x = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = CompressedSGD([x], lr=0.1, compressor=compressor, error_feedback=True)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.99**step
        x.grad = x.detach() - target
        optimizer.step()
    assert (x - target).abs().max() < 0.02


@pytest.mark.parametrize("compressor", [TopK(1.0), None], ids=["topk 1", "none"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"weight_decay": 0.1, "maximize": True}])
def test_without_loss_it_is_sgd(compressor: Compressor | None, options: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    a = CompressedSGD(ours, lr=0.03, compressor=compressor, **options)
    b = torch.optim.SGD(theirs, lr=0.03, foreach=False, **options)
    for step in range(8):
        train(a, ours, [step])
        for p, g in zip(theirs, gradients(theirs, step), strict=True):
            p.grad = g
        b.step()
        assert_bitwise([p.data for p in ours], [p.data for p in theirs])


def test_a_lossless_channel_leaves_no_error() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = CompressedSGD(ours, lr=0.03, compressor=TopK(1.0), error_feedback=True)
    a = train(optimizer, ours, range(8))
    b = train(CompressedSGD(theirs, lr=0.03, compressor=None), theirs, range(8))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert all((state["error"] == 0).all() for state in optimizer.state.values())


def test_decoupled_decay_bypasses_the_compressor() -> None:
    x = nn.Parameter(torch.tensor([4.0, 2.0]))
    options: dict[str, Any] = {"lr": 0.5, "compressor": TopK(0.5), "weight_decay": 0.5, "decoupled": True}
    # decay to (3, 1½), then the larger coordinate of g
    assert _path(CompressedSGD([x], **options), x, [[1, 0]]) == [[2.5, 1.5]]
    x.data.copy_(torch.tensor([4.0, 2.0]))
    # coupled: g + wd·x = (3, 1)
    assert _path(CompressedSGD([x], **{**options, "decoupled": False}), x, [[1, 0]]) == [[2.5, 2.0]]


def test_a_group_may_have_its_own_compressor_or_none() -> None:
    params = parameters([(6,), (6,), (6,)])
    optimizer = CompressedSGD(
        [
            {"params": [params[0]]},
            {"params": [params[1]], "compressor": None},
            {"params": [params[2]], "compressor": ScaledSign()},
        ],
        lr=0.1,
        compressor=TopK(0.2),
        error_feedback=True,
    )
    before = [p.detach().clone() for p in params]
    train(optimizer, params, [0])
    moved = [old - p.detach() for old, p in zip(before, params, strict=True)]
    assert int((moved[0] != 0).sum()) == 1
    torch.testing.assert_close(moved[1], 0.1 * params[1].grad)
    assert moved[2].abs().std() < 1e-7
    assert "error" not in optimizer.state[params[1]]
    assert optimizer.param_groups[2]["compressor"] == {"name": "scaled-sign", "norm": "l1"}


def test_the_noise_of_a_parameter_is_its_own() -> None:
    params = [nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(50))]
    optimizer = CompressedSGD(params, lr=1.0, compressor=QSGD(levels=1, seed=3))
    for p in params:
        p.grad = torch.linspace(-1, 1, 50)
    optimizer.step()
    assert not torch.equal(*params)
    first = params[0].detach().clone()
    optimizer.step()
    assert not torch.equal(params[0] - first, first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoupled": True}, "decoupled has no effect without weight_decay"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum_after": True}, "momentum_after has no effect without momentum"),
        ({"compressor": None, "error_feedback": True}, "error_feedback has no effect without compressor"),
        (
            {"compressor": None, "momentum": 0.9, "momentum_after": True},
            "momentum_after has no effect without compressor",
        ),
        (
            {"compressor": {"name": "nope"}},
            r"unknown compressor 'nope' \(known: one-bit, qsgd, scaled-sign, terngrad, topk\)",
        ),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CompressedSGD(parameters(), **{"compressor": TernGrad(), **options})


@pytest.mark.parametrize(("compressor", "stable"), [(QSGD(1, "l2", None), False), (QSGD(), True)])
def test_feedback_of_a_noisy_compressor_diverges(compressor: Compressor, stable: bool) -> None:
    """Error feedback needs a contraction: with E‖C(v)−v‖² > ‖v‖² the residual grows without bound."""
    x = nn.Parameter(torch.zeros(2000))
    optimizer = CompressedSGD([x], lr=1.0, compressor=compressor, error_feedback=True)
    direction = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    sizes = []
    for _ in range(20):
        x.grad = direction
        optimizer.step()
        sizes.append(float(optimizer.state[x]["error"].norm() / direction.norm()))
    assert sizes[-1] < 1 if stable else sizes[-1] > 1e3
