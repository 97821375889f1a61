"""Each compressor: its formula, its expectation or contraction, its noise, and odd inputs."""

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sign_ablate.optim import QSGD, OneBit, ScaledSign, TernGrad, TopK, noise
from sign_ablate.optim.compressors import Compressor, Message, from_dict
from tests.optim import oracles
from tests.optim.cases import COMPRESSORS, assert_bitwise

each = pytest.mark.parametrize("compressor", COMPRESSORS.values(), ids=COMPRESSORS.keys())
SHAPE = (7, 6)
STEP, INDEX, SEED = 3, 2, 5


@pytest.fixture
def x() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _u(shape: tuple[int, ...] = SHAPE) -> oracles.Array:
    drawn = noise.uniform(torch.Size(shape), SEED, STEP, INDEX, torch.device("cpu"))
    return drawn.double().numpy()


FORMULAS: dict[str, tuple[Compressor, Any]] = {
    "scaled sign": (ScaledSign(), oracles.scaled_sign),
    "one bit": (OneBit(), oracles.one_bit),
    "one bit, tensor": (
        OneBit(columns=False),
        lambda x: oracles.one_bit(x.reshape(-1, 1)).reshape(x.shape),
    ),
    "qsgd": (QSGD(3, "max", 10, SEED), lambda x: oracles.qsgd(x, _u((5, 10))[:], 3, np.inf, 10)),
    "qsgd l2": (QSGD(4, "l2", None, SEED), lambda x: oracles.qsgd(x, _u(), 4, 2, x.size)),
    "terngrad": (TernGrad(1.0, SEED), lambda x: oracles.terngrad(x, _u(), 1.0)),
    "terngrad, no clip": (TernGrad(None, SEED), lambda x: oracles.terngrad(x, _u(), None)),
    "top-k": (TopK(0.3), lambda x: oracles.top_k(x, 0.3)),
}


@pytest.mark.parametrize(("compressor", "formula"), FORMULAS.values(), ids=FORMULAS.keys())
def test_equals_the_paper(compressor: Compressor, formula: Any, x: Tensor) -> None:
    got = compressor(x, STEP, INDEX)
    torch.testing.assert_close(got, torch.from_numpy(formula(x.numpy())), rtol=1e-13, atol=1e-13)


def test_l2_scale_keeps_the_norm(x: Tensor) -> None:
    torch.testing.assert_close(ScaledSign("l2")(x, 1, 0).norm(), x.norm())


def test_one_bit_by_hand() -> None:
    column = torch.tensor([[-1.0], [-3.0], [0.0], [4.0]])
    assert OneBit()(column, 1, 0).flatten().tolist() == [-2.0, -2.0, 2.0, 2.0]
    assert OneBit()(column.flatten(), 1, 0).tolist() == [-2.0, -2.0, 2.0, 2.0]


def test_one_bit_takes_a_convolution_as_a_matrix(x: Tensor) -> None:
    assert_bitwise(OneBit()(x.view(7, 3, 2, 1), 1, 0).view(SHAPE), OneBit()(x, 1, 0))


def test_one_bit_is_the_best_two_valued_code(x: Tensor) -> None:
    """The residual's mean is zero on either side of every column: no other pair of values does better."""
    residual = x - OneBit()(x, 1, 0)
    for side in (x < 0, x >= 0):
        torch.testing.assert_close((residual * side).sum(0), torch.zeros(6, dtype=x.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["max", "l2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_qsgd_sends_levels(norm: Any, dtype: torch.dtype) -> None:
    x = torch.randn(40, generator=torch.Generator().manual_seed(2)).to(dtype)
    for step in range(200):
        q = QSGD(levels=5, norm=norm, bucket=None)(x, step, 0).double()
        levels = q / (x.double().norm(p=2 if norm == "l2" else math.inf) / 5)
        assert levels.abs().max() < 5.02
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=0.02)
        assert (q * x >= 0).all()


def _mean_and_error(compressor: Compressor, x: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    all_draws = torch.stack([compressor(x, step, 0) for step in range(draws)])
    return all_draws.mean(0), all_draws.std(0) / math.sqrt(draws)


@pytest.mark.slow
@pytest.mark.parametrize(
    "compressor",
    [QSGD(1, "l2", None), QSGD(4, "l2", None), QSGD(7, "max", 8), QSGD(1, "max", None), TernGrad(clip=None)],
    ids=repr,
)
def test_unbiased(compressor: Compressor, x: Tensor) -> None:
    x = x + 0.3 * x.sign()  # none so small that 2,000 draws may all be 0
    mean, error = _mean_and_error(compressor, x, 2000)
    z = (mean - x) / error.clamp(min=1e-12)
    z = z[(mean - x).abs() > 1e-12]  # the largest coordinate is exact
    assert z.abs().max() < 4.5
    assert abs(z.square().mean() - 1) < 0.8


@pytest.mark.slow
def test_clipping_is_biased_where_it_clips(x: Tensor) -> None:
    x = x + 0.3 * x.sign()  # none so small that 2,000 draws may all be 0
    mean, error = _mean_and_error(TernGrad(clip=1.0), x, 2000)
    clipped = x.clamp(-x.std(correction=0), x.std(correction=0))
    assert ((mean - clipped).abs() <= 4.5 * error + 1e-12).all()
    assert (mean - x).abs().max() > 20 * error.max()


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 3, 10])
def test_qsgd_variance_bound(levels: int, x: Tensor) -> None:
    """Lemma 3.1 of 1610.02132: E‖Q(v)−v‖² ≤ min(n/s², √n/s)·‖v‖²."""
    n = x.numel()
    draws = [(QSGD(levels, "l2", None)(x, step, 0) - x).square().sum() for step in range(300)]
    bound = min(n / levels**2, math.sqrt(n) / levels) * x.square().sum()
    assert torch.stack(draws).mean() < bound


def test_qsgd_of_one_level_is_terngrad(x: Tensor) -> None:
    for step in range(20):
        a, b = QSGD(1, "max", None, seed=9)(x, step, 4), TernGrad(None, seed=9)(x, step, 4)
        torch.testing.assert_close(a, b, rtol=1e-15, atol=0)


@pytest.mark.parametrize("compressor", [QSGD(2), TernGrad()], ids=["qsgd", "terngrad"])
def test_noise_is_a_function_of_seed_step_and_parameter(compressor: Any, x: Tensor) -> None:
    first = compressor(x, 1, 0)
    assert_bitwise(compressor(x, 1, 0), first)
    other = type(compressor)(**{**vars(compressor), "seed": 1})
    for changed in (compressor(x, 2, 0), compressor(x, 1, 1), other(x, 1, 0)):
        assert not torch.equal(changed, first)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_contractions(values: list[float], fraction: float) -> None:
    """‖x − C(x)‖² ≤ (1 − δ)‖x‖² with δ = ‖x‖₁²/(d‖x‖²) for scaled sign and one-bit, k/d for top-k."""
    x = torch.tensor(values, dtype=torch.float64)
    total = x.square().sum()
    scaled = (x - ScaledSign()(x, 1, 0)).square().sum()
    bound = total - x.abs().sum() ** 2 / len(x)
    assert scaled <= bound + 1e-9
    if (x != 0).all():
        torch.testing.assert_close(scaled, bound, rtol=1e-9, atol=1e-6)
    assert (x - OneBit()(x, 1, 0)).square().sum() <= bound + 1e-9
    k = max(1, round(fraction * len(x)))
    assert (x - TopK(fraction)(x, 1, 0)).square().sum() <= (1 - k / len(x)) * total + 1e-9


@pytest.mark.parametrize(("fraction", "kept"), [(1e-9, 1), (0.05, 2), (0.5, 21), (1.0, 42)])
def test_topk_count(fraction: float, kept: int, x: Tensor) -> None:
    assert int((TopK(fraction)(x, 1, 0) != 0).sum()) == kept


@each
def test_keeps_shape_dtype_and_its_input(compressor: Compressor) -> None:
    for shape in [(), (0,), (0, 3), (3, 0), (1,), (4,), (3, 4), (2, 3, 2, 2)]:
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            x = torch.randn(shape).to(dtype)
            before = x.clone()
            out = compressor(x, 1, 0)
            assert (out.shape, out.dtype) == (x.shape, dtype)
            assert_bitwise(x, before)


@each
def test_zero_stays_zero(compressor: Compressor) -> None:
    for shape in [(), (1,), (3, 4)]:
        assert_bitwise(compressor(torch.zeros(shape), 1, 0), torch.zeros(shape))


@each
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_values_come_through(compressor: Compressor, bad: float) -> None:
    x = torch.ones(3, 4)
    x[1, 2] = bad
    for step in range(20):
        assert not torch.isfinite(compressor(x, step, 0)[1, 2])


@each
def test_scales_with_its_input(compressor: Compressor, x: Tensor) -> None:
    """C(2x) = 2C(x): why the learning rate may stand before or after it."""
    assert_bitwise(compressor(2 * x, 1, 0), 2 * compressor(x, 1, 0))


def test_one_value_is_not_clipped_away() -> None:
    assert TernGrad()(torch.tensor([3.0]), 1, 0).item() == 3.0


@each
def test_plain_form(compressor: Compressor) -> None:
    values = compressor.as_dict()
    assert from_dict(values) == compressor
    assert all(value is None or isinstance(value, int | float | str) for value in values.values())


def test_bad_options() -> None:
    for make, message in [
        (lambda: ScaledSign("max"), "norm must be one of 'l1', 'l2'; got 'max'"),  # type: ignore[arg-type]
        (lambda: QSGD(levels=0), r"levels must be in \[1, 16777216\], got 0"),
        (lambda: QSGD(levels=2**24 + 1), r"levels must be in \[1, 16777216\], got 16777217"),
        (lambda: QSGD(norm="l1"), "norm must be one of 'l2', 'max'; got 'l1'"),  # type: ignore[arg-type]
        (lambda: QSGD(bucket=0), "bucket must be None or at least 1, got 0"),
        (lambda: TernGrad(clip=0.0), "clip must be None or above 0, got 0.0"),
        (lambda: TopK(fraction=0.0), r"fraction must be in \(0, 1\], got 0.0"),
        (lambda: TopK(fraction=1.5), r"fraction must be in \(0, 1\], got 1.5"),
        (
            lambda: from_dict({"name": "top-k"}),
            r"unknown compressor 'top-k' \(known: one-bit, qsgd, scaled-sign, terngrad, topk\)",
        ),
        (lambda: from_dict({"name": "topk", "levels": 3}), "compressor 'topk': .*'levels'"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}$"):
            make()


@each
def test_a_receiver_needs_the_message_alone(compressor: Compressor, x: Tensor) -> None:
    """Another process decodes what was saved, with nothing of the sender's tensor left."""
    expected, buffer = compressor(x, STEP, INDEX), io.BytesIO()
    parts, shape, dtype = compressor.encode(x, STEP, INDEX)
    torch.save((parts, tuple(shape), dtype), buffer)
    x.fill_(torch.nan)
    buffer.seek(0)
    parts, shape, dtype = torch.load(buffer, weights_only=True)
    decoded = from_dict(compressor.as_dict()).decode(Message(parts, torch.Size(shape), dtype))
    assert_bitwise(decoded, expected)


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("size", [1, 10, 65, 300, 1000])
def test_a_bucket_larger_than_the_tensor_takes_no_memory_and_changes_no_bit(norm: Any, size: int) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    filled = torch.nn.functional.pad(x, (0, 2048 - size))  # as long as its bucket
    compress = QSGD(norm=norm, bucket=2048)
    assert torch.equal(compress(x, 3, 1), compress(filled, 3, 1)[:size])
    message = QSGD(norm=norm, bucket=10**6).encode(x, 3, 1)
    assert max(part.numel() for part in message.parts) < size + 64


def test_qsgd_takes_an_empty_tensor() -> None:
    compressor = QSGD()
    assert compressor.decode(compressor.encode(torch.empty(0), 1, 0)).shape == (0,)
