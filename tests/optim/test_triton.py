"""The Triton step equals the plain one bit for bit: on a CUDA device, or else in Triton's interpreter.

Without a device one test runs this file again in a process with TRITON_INTERPRET=1, on the CPU.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.optim.sign_step import fused, triton_step
from tests.optim.helpers import HYBRID_OPTIONS, SIGN_OPTIONS, equal, make_params, momenta, set_grads

CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
DEVICE = "cpu" if INTERPRETED or not CUDA else "cuda"
if INTERPRETED and HAS_TRITON:
    import tests.optim.interpreted  # noqa: F401

runs = pytest.mark.skipif(not (HAS_TRITON and (CUDA or INTERPRETED)), reason="run by test_in_the_interpreter")
gpu = pytest.mark.gpu if CUDA and not INTERPRETED else lambda test: test

#: a tile and a bit, one short of a group, channels_last, a scalar, nothing
SHAPES = ((33, 64), (63,), (4, 3, 3, 3), (), (0,), (7, 5))
RULES = [(SignSGD, o) for o in SIGN_OPTIONS] + [(HybridSignSGD, o) for o in HYBRID_OPTIONS]
RULES += [
    (SignSGD, {"beta": 0.3}),
    (SignSGD, {"beta": 0.5, "dither": "pre", "alpha": 1e-3}),
    (SignSGD, {"dither": "post", "alpha": 0.1, "sign_of_zero": "random"}),
    (SignSGD, {"dither": "pre", "alpha": 0.1, "seed": -(2**63), "weight_decay": 0.1}),
    (HybridSignSGD, {"switch_step": 3, "momentum_dtype": "bfloat16", "lambda_momentum": "previous"}),
    (HybridSignSGD, {"switch_step": 3, "lambda_rule": "swats", "dither": "post", "alpha": 0.1}),
]
BFLOAT16 = [
    {},
    {"beta": 0.0},
    {"beta": 0.3},
    {"weight_decay": 0.1, "decoupled": False},
    {"stochastic_rounding": True},
    {"stochastic_rounding": True, "dither": "post", "alpha": 0.1, "sign_of_zero": "random", "law": "uniform"},
    {"dither": "pre", "alpha": 0.1, "weight_decay": 0.1},
]
STEPS = 4


def name(x):
    return str(x) if isinstance(x, dict) else x.__name__


def stepped(cls, options, *, dtype=torch.float32, steps=STEPS, triton=True):
    """Parameters and optimizer after some steps, all of whose tensors the kernel took, or none."""
    torch.manual_seed(0)
    params = [
        torch.nn.Parameter(p.detach().to(DEVICE, memory_format=torch.preserve_format))
        for p in make_params(SHAPES, dtype=dtype)
    ]
    optimizer = cls(params, **options, **({"fused": True} if triton else {"foreach": False}))
    for k in range(steps):
        set_grads(params, k)
        params[1].grad[::5] = 0
        optimizer.step()
    return params, optimizer


@pytest.fixture
def taken(monkeypatch):
    """The numbers of tensors that the kernel takes. On a CPU the C step leaves them to it."""
    calls = []
    original = triton_step.step
    monkeypatch.setattr(fused, "takes_step", lambda const: False)
    monkeypatch.setattr(
        triton_step, "step", lambda work, const: calls.append(len(work)) or original(work, const)
    )
    return calls


def compare(cls, options, taken, **more):
    p, one = stepped(cls, options, triton=False, **more)
    assert not taken
    q, two = stepped(cls, options, **more)
    assert sum(taken) == STEPS * len(SHAPES)
    assert equal(momenta(one), momenta(two))
    if cls is SignSGD:
        assert equal(p, q)
    else:  # the sums for λ̄ are added in another order
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    return one, two


@gpu
@runs
@pytest.mark.parametrize(("cls", "options"), RULES, ids=name)
def test_equals_the_plain_step(cls, options, taken):
    one, two = compare(cls, options, taken)
    if cls is HybridSignSGD:
        ours, theirs = two.diagnostics(), one.diagnostics()
        assert ours.keys() == theirs.keys()
        for key in ours.keys() & {"lambda_k", "lambda_bar", "phase"}:
            torch.testing.assert_close(torch.as_tensor(ours[key]), torch.as_tensor(theirs[key]))


@gpu
@runs
@pytest.mark.parametrize("options", BFLOAT16, ids=name)
def test_equals_the_plain_step_in_bfloat16(options, taken):
    compare(SignSGD, options, taken, dtype=torch.bfloat16)


@gpu
@runs
@pytest.mark.parametrize(("cls", "options"), RULES[9:16:2] + RULES[18:19] + RULES[20:39:4], ids=name)
def test_equals_the_plain_step_with_its_numbers_on_the_device(cls, options, taken):
    lr = torch.tensor(1e-3, device=DEVICE, dtype=torch.float64 if cls is SignSGD else torch.float32)
    compare(cls, {**options, "lr": lr, "capturable": True, "weight_decay": 0.1}, taken)


@runs
def test_any_size(taken):
    """Sizes around those of a tile, a group and a block, at addresses that are not aligned."""
    for size in (1, 15, 16, 17, 63, 64, 65, 2047, 2048, 2049, 4097):
        results = []
        for flag in ({"foreach": False}, {}):
            generator = torch.Generator().manual_seed(size)
            base = torch.randn(2, size + 1, generator=generator).to(DEVICE)
            p = torch.nn.Parameter(base[0, 1:])
            p.grad = base[1, 1:].clone() if size % 2 else base[1, 1:]
            optimizer = SignSGD([p], lr=0.01, dither="pre", alpha=0.5, seed=size, **flag)
            optimizer.step()
            results.append([base, *momenta(optimizer)])
        assert equal(*results), size


@runs
def test_what_is_not_finite_becomes_nan_or_stays(taken):
    for options in ({}, {"dither": "pre", "alpha": 0.1}, {"sign_of_zero": "plus"}):
        results = []
        for flag in ({"foreach": False}, {}):
            p = torch.nn.Parameter(torch.ones(70, device=DEVICE))
            p.grad = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf, 0.0] * 14, device=DEVICE)
            SignSGD([p], **options, **flag).step()
            results.append(p.detach().isnan())
        assert equal(results[:1], results[1:])
        assert results[0][1:4].all()


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton, which torch's builds for CUDA bring along")
@pytest.mark.skipif(CUDA, reason="the other tests run the kernel on the device")
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert "passed" in result.stdout
