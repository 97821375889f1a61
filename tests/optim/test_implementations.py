"""For-loop, foreach, fused and capturable give the same numbers."""

import copy
import itertools
import subprocess
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sign_ablate.optim import HybridSignSGD, SignSGD, noise
from sign_ablate.optim.sign_step import fused, inputs, native, triton_support
from tests.optim.helpers import HYBRID_OPTIONS, SIGN_OPTIONS, equal, momenta, run

pytestmark = pytest.mark.slow

BOTH = [(SignSGD, o) for o in SIGN_OPTIONS] + [(HybridSignSGD, o) for o in HYBRID_OPTIONS]
ALL = pytest.mark.parametrize(
    ("cls", "options"), BOTH, ids=lambda x: str(x) if isinstance(x, dict) else x.__name__
)


@ALL
def test_foreach_equals_the_for_loop_bit_for_bit(cls, options):
    (p, one), (q, two) = (run(cls, {**options, "foreach": flag}) for flag in (False, True))
    assert equal(p, q)
    assert equal(momenta(one), momenta(two))
    assert repr(one.state_dict()["param_groups"]).replace("'foreach': False", "") == repr(
        two.state_dict()["param_groups"]
    ).replace("'foreach': True", "")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [o for o in SIGN_OPTIONS if "momentum_dtype" not in o], ids=str)
def test_foreach_equals_the_for_loop_in_other_dtypes(options, dtype):
    (p, one), (q, two) = (run(SignSGD, {**options, "foreach": flag}, dtype=dtype) for flag in (False, True))
    assert equal(p, q)
    assert equal(momenta(one), momenta(two))


@ALL
def test_the_default_equals_the_plain_step(cls, options):
    """Bit for bit, but for λ̄, whose sums the fused step adds in another order."""
    (p, one), (q, two) = run(cls, {**options, "foreach": False}), run(cls, options)
    if cls is SignSGD:
        assert equal(p, q)
        assert equal(momenta(one), momenta(two))
    else:
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@ALL
def test_capturable_equals_the_default(cls, options):
    """With the step, the phase and σ_k on the device. σ_k has float32's rounding there."""
    (p, _), (q, _) = run(cls, {**options, "foreach": False}), run(cls, {**options, "capturable": True})
    if options.get("dither") == "post":
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    else:
        assert equal(p, q)


def test_the_fused_step_is_used(monkeypatch):
    assert native.library() is not None, "these tests need a C compiler"
    calls = []
    original = fused.step
    monkeypatch.setattr(fused, "step", lambda todo, const: calls.append(len(todo)) or original(todo, const))
    run(SignSGD, {"dither": "pre", "alpha": 0.1}, steps=2)
    assert calls == [6, 6]
    run(SignSGD, {"foreach": False}, steps=1)
    assert len(calls) == 2


@given(
    size=st.integers(1, 700),
    beta=st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.9, 0.99]),
    exponent=st.integers(-12, 4),
    options=st.sampled_from(
        [
            {},
            {"weight_decay": 0.3},
            {"weight_decay": 0.3, "decoupled": False},
            {"dither": "pre", "alpha": 0.5},
            {"dither": "pre", "alpha": 1e-7},
            {"dither": "pre", "alpha": 0.5, "law": "uniform"},
        ]
    ),
    seed=st.integers(-(2**63), 2**63 - 1),
)
@settings(max_examples=60, deadline=None)
def test_fused_equals_plain_for_any_size(size, beta, exponent, options, seed):
    results = []
    for flag in ({}, {"foreach": False}):
        generator = torch.Generator().manual_seed(size)
        p = torch.nn.Parameter(torch.randn(size, generator=generator))
        optimizer = SignSGD([p], lr=0.01, beta=beta, seed=seed, **options, **flag)
        for _ in range(3):
            p.grad = torch.randn(size, generator=generator) * 10.0**exponent
            p.grad[::7] = 0
            optimizer.step()
        results.append([p, *momenta(optimizer)])
    assert equal(*results)


def layout(values, kind):
    """The same values, dense, transposed, or every other element of a larger tensor."""
    if kind == "transposed" and values.dim() > 1:
        return (
            values.t().contiguous().t()
            if values.dim() == 2
            else values.transpose(0, 1).contiguous().transpose(0, 1)
        )
    if kind == "strided" and values.dim() > 0:
        return torch.stack([values, values], -1)[..., 0]
    return values


@given(
    shape=st.lists(st.integers(0, 6), max_size=4).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    kinds=st.tuples(*[st.sampled_from(["dense", "transposed", "strided"])] * 2),
    options=st.sampled_from([o for o in SIGN_OPTIONS if "momentum_dtype" not in o]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_any_shape_layout_and_dtype(shape, dtype, kinds, options, seed):
    """All implementations agree bitwise, finite stays finite, and a clean step is ±δ or 0 everywhere."""
    results = []
    for flag in ({"foreach": False}, {"foreach": True}, {}):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(shape, generator=generator).to(dtype)
        p = torch.nn.Parameter(layout(start, kinds[0]))
        optimizer = SignSGD([p], lr=2.0**-6, **options, **flag)
        for _ in range(3):
            before = p.detach().clone()
            p.grad = layout(torch.randn(shape, generator=generator).to(dtype), kinds[1])
            optimizer.step()
            assert p.isfinite().all()
            if dtype == torch.float64 and not options:
                torch.testing.assert_close((p - before).abs(), torch.full_like(p, 2.0**-6))
        results.append([p.detach().contiguous(), *[m.contiguous() for m in momenta(optimizer)]])
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])


def test_threads_and_pieces_change_nothing(monkeypatch):
    shapes = [(1000, 700), (300,), (900, 100)]
    one, first = run(HybridSignSGD, {"dither": "pre", "alpha": 0.1}, steps=2, shapes=shapes)
    monkeypatch.setattr(fused, "_PIECE", 157 * noise.GROUP)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    two, second = run(HybridSignSGD, {"dither": "pre", "alpha": 0.1}, steps=2, shapes=shapes)
    assert equal(one, two)
    ours, theirs = first.diagnostics(), second.diagnostics()
    torch.testing.assert_close(ours["lambda_bar"], theirs["lambda_bar"])


def test_block_size_changes_nothing(monkeypatch):
    options = {"dither": "pre", "alpha": 0.1, "foreach": False}
    one, _ = run(SignSGD, options)
    monkeypatch.setattr(inputs, "BLOCK", 1000)
    two, _ = run(SignSGD, options)
    assert equal(one, two)


@pytest.mark.parametrize(
    "formats", list(itertools.permutations([torch.channels_last, torch.contiguous_format]))
)
def test_noise_follows_the_memory_order_in_every_implementation(formats):
    """A channels_last parameter whose gradient is not, or the other way round: all implementations agree."""
    results = []
    for flag in ({"foreach": False}, {"foreach": True}, {}, {"fused": True}):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=formats[0]))
        optimizer = SignSGD([p], dither="pre", alpha=0.1, **flag)
        for _ in range(3):
            p.grad = torch.randn(4, 3, 5, 5).to(memory_format=formats[1])
            given, before = p.grad.stride(), p.grad.clone()
            assert given != p.stride()
            optimizer.step()
            assert p.grad.stride() == given
            assert equal([p.grad], [before])
        results.append([p, *momenta(optimizer)])
    assert all(equal(results[0], other) for other in results[1:])


def test_fused_true_refuses_what_it_cannot_do():
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="`fused=True` requires"):
        SignSGD([p], fused=True).step()
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="`fused=True` requires"):
        SignSGD([p], fused=True, sign_of_zero="plus").step()
    with pytest.raises(
        RuntimeError, match=r"^fused=True with capturable=True .* CUDA device, got one on cpu"
    ):
        SignSGD([p], fused=True, capturable=True).step()
    for other in ("foreach", "differentiable"):
        with pytest.raises(ValueError, match=f"fused and {other} cannot both be True"):
            SignSGD([p], fused=True, **{other: True})


def test_without_a_compiler_the_plain_step_warns_once(tmp_path):
    """A fresh process with no compiler on its path: one warning, the same numbers."""
    code = """
import warnings, torch
from sign_ablate.optim import SignSGD
p = torch.nn.Parameter(torch.linspace(-1, 1, 50)); p.grad = p.detach().clone()
optimizer = SignSGD([p], lr=0.01, dither="pre", alpha=0.1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    optimizer.step(); optimizer.step()
print(len([w for w in caught if "no fused CPU step" in str(w.message)]), p.double().sum().item())
"""
    outputs = []
    for path in ("/nonexistent", None):
        env = {"XDG_CACHE_HOME": str(tmp_path / str(path).strip("/")), "PYTHONPATH": ":".join(sys.path)}
        env["PATH"] = path or "/usr/bin:/bin"
        result = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        outputs.append(result.stdout.split())
    assert outputs[0][0] == "1"
    assert outputs[1][0] == "0"
    assert outputs[0][1] == outputs[1][1]
    assert list((tmp_path / "None" / "sign-ablate").glob("step-*.so"))


def test_without_a_compiler_triton_is_not_used_and_warns_once(monkeypatch):
    """Triton compiles its driver on first use; without it the foreach step is taken."""

    class Driver:
        @property
        def active(self):
            raise RuntimeError("Failed to find C compiler")

    monkeypatch.setitem(sys.modules, "triton.runtime", types.SimpleNamespace(driver=Driver()))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    triton_support.has_driver.cache_clear()
    message = r"^no Triton step \(Failed to find C compiler\).*install a C compiler"
    with pytest.warns(UserWarning, match=message) as caught:
        runs = [triton_support.runs_on(torch.device("cuda")) for _ in range(2)]
    assert runs == [False, False]
    assert len(caught) == 1
    triton_support.has_driver.cache_clear()


def test_stepping_on_a_cpu_builds_no_driver_of_triton(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_support, "has_driver", lambda: pytest.fail("on a CPU"))
    run(SignSGD, {"fused": None, "momentum_form": "heavy_ball", "dither": "pre", "alpha": 0.1}, steps=1)


@pytest.fixture
def new_library(monkeypatch, tmp_path):
    """A cache folder without a compiled step."""
    monkeypatch.setattr(native, "_cache_folder", lambda: tmp_path)
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.usefixtures("new_library")
def test_a_library_that_was_cut_off_is_compiled_again(monkeypatch):
    monkeypatch.setattr(native, "_TIMEOUT_S", 600)  # other work may take the CPUs
    native._path().write_bytes(b"")
    assert native.library() is not None


@pytest.mark.usefixtures("new_library")
def test_a_message_of_the_compiler_may_be_of_any_encoding(monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nprintf 'caf\\351 failed' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.warns(UserWarning, match="compiler: caf\N{REPLACEMENT CHARACTER} failed"):
        assert native.library() is None


def test_a_user_without_a_home_folder_has_a_temporary_one(monkeypatch, tmp_path):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(native.Path, "home", home)
    monkeypatch.setattr(native.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    assert native._cache_folder.__wrapped__() == tmp_path


def test_without_any_folder_the_compiled_step_is_not_obtainable(monkeypatch):
    def folder():
        raise OSError("no space left")

    monkeypatch.setattr(native, "_cache_folder", folder)
    monkeypatch.setattr(native, "compiler", lambda: None)
    assert not native.is_obtainable()


def test_momentum_in_bfloat16_is_kept_by_a_state_dict():
    _, optimizer = run(SignSGD, {"momentum_dtype": "bfloat16"}, steps=3)
    params, other = run(SignSGD, {"momentum_dtype": "bfloat16"}, steps=0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.zero_grad()
    for p in params:
        p.grad = torch.zeros_like(p)
    before = [m.clone() for m in momenta(optimizer)]
    other.step()
    assert {m.dtype for m in momenta(other)} == {torch.bfloat16}
    assert equal([(b.float() * 0.9).to(torch.bfloat16) for b in before], momenta(other))
