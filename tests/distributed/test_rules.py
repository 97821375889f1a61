"""Rules of aggregation in one process: the wire format, the vote, error feedback, and the bytes."""

import doctest
import math
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor

from sign_ablate.distributed import (
    Compressed,
    MajorityVote,
    Mean,
    Rule,
    TwoSidedSign,
    aggregate,
    bytes_per_step,
    wire,
)
from sign_ablate.distributed.adversaries import corrupted
from sign_ablate.distributed.rule import Memory, Place
from sign_ablate.optim import QSGD, OneBit, ScaledSign, TernGrad, TopK
from sign_ablate.optim.compressors import Compressor

RULES: dict[str, Rule] = {
    "mean": Mean(),
    "vote": MajorityVote(),
    "signum": MajorityVote(momentum=0.9),
    "dithered": MajorityVote(momentum=0.9, alpha=1.0, scale="rms"),
    "absolute": MajorityVote(alpha=0.01),
    "random tie": MajorityVote(tie="random"),
    "two-phase": MajorityVote(momentum=0.9, two_phase=True, tie="random"),
    "scaled sign": Compressed(ScaledSign()),
    "ef": Compressed(ScaledSign(), error_feedback=True),
    "onebit": Compressed(OneBit(), error_feedback=True),
    "qsgd": Compressed(QSGD(bucket=8)),
    "terngrad": Compressed(TernGrad()),
    "topk": Compressed(TopK(0.3), error_feedback=True),
    "two-sided": TwoSidedSign(),
}
SHAPES = [(1,), (7,), (5, 3), (4, 3, 3, 3), (130,), (8, 8)]


def gradients(workers: int, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(shape) + 0.1 for _ in range(workers)]


def run(rule: Rule, batches: list[list[Tensor]], seed: int = 0) -> list[Tensor]:
    memories: list[Memory] = [{} for _ in batches[0]]
    server: Memory = {}
    return [aggregate(rule, g, memories, server, step=k, seed=seed) for k, g in enumerate(batches)]


@pytest.mark.parametrize(
    "compressor",
    [ScaledSign(), ScaledSign("l2"), OneBit(), OneBit(columns=False), QSGD(), QSGD(3, "l2", None), QSGD(100),
     QSGD(500), QSGD(bucket=4), TernGrad(), TernGrad(clip=None), TopK(), TopK(0.5)],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bytes_carry_the_message_without_loss(
    compressor: Compressor, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Unpacked and decoded, a message is C(x) bit for bit."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    packed = wire.pack(compressor, compressor.encode(x, 3, 1))
    assert packed.dtype == torch.uint8
    found = compressor.decode(wire.unpack(compressor, packed, x.shape, dtype))
    assert torch.equal(found, compressor(x, 3, 1))
    assert found.dtype == dtype
    assert len(packed) == bytes_per_step(Compressed(compressor), [shape], workers=2, itemsize=dtype.itemsize)


@pytest.mark.parametrize("width", [*range(1, 10), 16, 25])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 130])
def test_codes_are_a_stream_of_bits_the_lowest_first(width: int, count: int) -> None:
    """Against NumPy. Codes of up to 8 bits take no wider integer on the way."""
    codes = np.random.default_rng(width).integers(0, 2**width, count)
    bits = (codes[:, None] >> np.arange(width) & 1).astype(np.uint8)
    narrow = torch.from_numpy(codes).to(torch.uint8 if width <= 8 else torch.int64)
    packed = wire.pack_codes(narrow, width)
    assert packed.tolist() == np.packbits(bits, bitorder="little").tolist()
    found = wire.unpack_codes(packed, count, width)
    assert found.dtype == narrow.dtype
    assert found.tolist() == codes.tolist()


@pytest.mark.parametrize("compressor", [ScaledSign(), OneBit(), QSGD(), TernGrad(), TopK(0.5)], ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_stays_visible(compressor: Compressor, bad: float) -> None:
    x = torch.ones(9)
    x[4] = bad
    (found,) = run(Compressed(compressor), [[x, torch.ones(9)]])
    assert not found.isfinite().all()


def test_vote_is_the_sign_of_the_sum_of_signs() -> None:
    """Against NumPy, with Signum's momentum, over steps."""
    m = np.zeros((3, 130), np.float32)
    batches = [gradients(3, (130,), seed) for seed in range(4)]
    for found, batch in zip(run(MajorityVote(momentum=0.75), batches), batches, strict=True):
        m = np.float32(0.75) * m + np.float32(0.25) * np.stack([g.numpy() for g in batch])
        assert np.array_equal(found.numpy(), np.sign(np.sign(m).sum(0)))


def test_ties_are_zero_or_one_random_sign() -> None:
    g = gradients(1, (4096,))[0]
    assert torch.equal(run(MajorityVote(), [[g, -g]])[0], torch.zeros(4096))
    vote = run(MajorityVote(tie="random"), [[g, -g]])[0]
    assert set(vote.tolist()) == {-1.0, 1.0}
    assert abs(float(vote.mean())) < 4 / 64
    assert torch.equal(vote, run(MajorityVote(tie="random", two_phase=True), [[g, -g]])[0])


def test_a_zero_gradient_sends_random_signs_of_its_own() -> None:
    zeros = [torch.zeros(4096)] * 3
    found = run(MajorityVote(), [zeros])[0]
    assert abs(float(found.mean())) < 4 / 64
    signs = [run(MajorityVote(), [[zeros[0]]], seed=s)[0] for s in (0, 1)]
    assert abs(float((signs[0] * signs[1]).mean())) < 4 / 64


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_vote_in_two_phases_is_that_by_all_gather(workers: int, shape: tuple[int, ...]) -> None:
    batches = [gradients(workers, shape, seed) for seed in range(3)]
    pair = [
        run(MajorityVote(momentum=0.9, alpha=0.5, tie="random", two_phase=two), batches, seed=5)
        for two in (False, True)
    ]
    assert all(map(torch.equal, *pair))


@pytest.mark.parametrize("rule", [MajorityVote(), MajorityVote(two_phase=True, tie="random")], ids=str)
def test_one_worker_with_nan_makes_the_vote_nan(rule: Rule) -> None:
    g = gradients(4, (20,))
    g[2][7] = math.nan
    assert run(rule, [g])[0].isnan().all()


@pytest.mark.parametrize("workers", [1, 2, 3, 64])
def test_mean_is_the_mean(workers: int) -> None:
    g = gradients(workers, (5, 3))
    torch.testing.assert_close(run(Mean(), [g])[0], torch.stack(g).mean(0))
    low = [x.bfloat16() for x in g]
    assert run(Mean(), [low])[0].dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["scaled sign", "qsgd", "terngrad", "topk", "onebit"])
def test_compressed_mean_is_the_mean_of_the_compressors(name: str) -> None:
    rule = RULES[name]
    assert isinstance(rule, Compressed)
    g = gradients(3, (40,))
    found = run(rule, [g], seed=7)[0]
    own = [rule._own(Place(rank, 3, 0, 0, 7)) for rank in range(3)]
    expected = sum(c(x, 0, 0) for c, x in zip(own, g, strict=True)) / 3
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["ef", "onebit", "topk", "two-sided"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_error_feedback_loses_nothing(name: str, shape: tuple[int, ...]) -> None:
    """Σ sent + mean e + e of the servers = Σ mean g."""
    memories: list[Memory] = [{} for _ in range(3)]
    server: Memory = {}
    batches = [gradients(3, shape, seed) for seed in range(20)]
    sent = sum(aggregate(RULES[name], g, memories, server, step=k) for k, g in enumerate(batches))
    left = torch.stack([memory["error"] for memory in memories]).mean(0)
    if server:
        left += server["server_error"].flatten()[: left.numel()].view(shape)
    total = sum(torch.stack(g).mean(0) for g in batches)
    torch.testing.assert_close(sent + left, total, rtol=1e-4, atol=1e-4)


def test_dither_estimates_the_probit_of_each_worker() -> None:
    """The mean sign of many workers with one gradient is erf(g/(σ√2))."""
    g = torch.full((20_000,), 0.5)
    alone = [run(MajorityVote(alpha=1.0), [[g]], seed=s)[0] for s in range(2)]
    expected, error = math.erf(0.5 / math.sqrt(2)), 4 / math.sqrt(20_000)
    assert all(abs(float(vote.mean()) - expected) < error for vote in alone)
    relative = run(MajorityVote(alpha=4.0, scale="rms"), [[g]])[0]
    assert abs(float(relative.mean()) - math.erf(0.5 / math.sqrt(2))) < error


def test_dither_is_annealed_and_differs_between_ranks_and_steps() -> None:
    g = torch.full((4096,), 1e-3)
    rule, memory = MajorityVote(alpha=1.0), Memory()
    votes = [rule.encode(g, memory, Place(rank, 2, 0, step)) for rank, step in ((0, 0), (1, 0), (0, 1))]
    for other in votes[1:]:
        agreement = (wire.unpack_bits(votes[0], 4096) == wire.unpack_bits(other, 4096)).float().mean()
        assert abs(float(agreement) - 0.5) < 4 / 128
    late = rule.encode(g, memory, Place(0, 2, 0, 10**9))
    assert wire.unpack_bits(late, 4096).float().mean() > 0.6  # σ is 3e-3 here


def test_adversaries() -> None:
    g = gradients(1, (4096,))[0]
    assert torch.equal(corrupted(g, "invert", Place(0, 4, 0, 0)), -g)
    first, other = (corrupted(g, "random", Place(rank, 4, 0, 0)) for rank in (0, 1))
    assert torch.equal(first.abs(), g.abs())
    for agreement in (first == g, first == other):
        assert abs(float(agreement.float().mean()) - 0.5) < 4 / 128


@pytest.mark.parametrize("name", RULES)
def test_results_do_not_depend_on_the_memory_format(name: str) -> None:
    shape = (4, 3, 3, 3)
    batches = [gradients(2, shape, seed) for seed in range(3)]
    strided = [[g.to(memory_format=torch.channels_last) for g in batch] for batch in batches]
    assert all(map(torch.equal, run(RULES[name], batches), run(RULES[name], strided)))


@pytest.mark.parametrize("name", RULES)
def test_64_workers_and_an_empty_parameter(name: str) -> None:
    found = run(RULES[name], [gradients(64, (33,))] * 2)
    assert all(x.isfinite().all() and x.shape == (33,) for x in found)
    assert run(RULES[name], [gradients(2, (0,))])[0].shape == (0,)


def test_two_phase_vote_sends_a_32th_of_an_all_reduce() -> None:
    shapes = [(512, 512, 3, 3)] * 4
    d = sum(map(math.prod, shapes))
    vote = bytes_per_step(MajorityVote(two_phase=True, tie="random"), shapes, workers=8)
    assert vote == pytest.approx(2 * 4 * d * 7 / 8 / 32, rel=1e-4)
    assert bytes_per_step(Mean(), shapes, workers=8) == 2 * 4 * d * 7 / 8
    # by all-gather, the advantage is gone at 64 workers
    assert bytes_per_step(MajorityVote(), shapes, workers=64) == pytest.approx(2 * 4 * d * 63 / 64, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MajorityVote(two_phase=True),
            "two_phase needs tie 'random': a reply has one bit, which cannot be 0",
        ),
        (lambda: MajorityVote(momentum=1.0), "momentum must be in [0, 1), got 1.0"),
        (lambda: MajorityVote(alpha=-1), "alpha must be at least 0, got -1"),
        (lambda: MajorityVote(scale="tensor"), "scale must be one of 'absolute', 'rms'; got 'tensor'"),
        (lambda: Compressed("topk"), "compressor must be a Compressor, got 'topk'"),
    ],
)  # fmt: skip
def test_errors_are_one_line(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message


@pytest.mark.parametrize("module", ["wire", "virtual", "traffic"])
def test_examples(module: str) -> None:
    result = doctest.testmod(import_module(f"sign_ablate.distributed.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.slow
def test_hooks_need_torch_only() -> None:
    code = (
        "import sys, torch; before = {m.split('.')[0] for m in sys.modules}; import sign_ablate.distributed;"
        "print(sorted({m.split('.')[0] for m in sys.modules} - before - set(sys.stdlib_module_names)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['sign_ablate']"
