"""Memory safety of the step: what does not fit is refused before anything moves."""

import copy
import os
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from sign_ablate.optim import HybridSignSGD, SignSGD, layout
from sign_ablate.optim.sign_step import fused, native
from tests.optim.optimizer_infos import INFOS

pytestmark = pytest.mark.slow

SIGN = [
    ("SignSGD", SignSGD),
    ("dithered", lambda params: SignSGD(params, dither="pre", alpha=0.1)),
    ("bfloat16", lambda params: SignSGD(params, momentum_dtype="bfloat16")),
    ("plain", lambda params: SignSGD(params, fused=False, foreach=False)),
    ("foreach", lambda params: SignSGD(params, foreach=True)),
    ("hybrid", lambda params: HybridSignSGD(params, switch_step=5)),
]


def stepped(make, shapes):
    """An optimizer after a step on parameters of these shapes."""
    params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = make(params)
    for p in params:
        p.grad = torch.randn_like(p)
    optimizer.step()
    return params, optimizer


def keeps_a_state(make):
    state = stepped(make, [(3, 2)])[1].state_dict()["state"]
    return any(isinstance(v, torch.Tensor) and v.dim() for s in state.values() for v in s.values())


OTHERS = [
    (f"{info.optim_cls.__name__}-{each.desc}", partial(info.optim_cls, **each.kwargs))
    for info in INFOS
    if not issubclass(info.optim_cls, SignSGD | HybridSignSGD)
    for each in info.optim_inputs_func(device="cpu")
    if each.desc in ("default", "momentum", "EF")
]
STATEFUL = [(name, make) for name, make in [*SIGN, *OTHERS] if keeps_a_state(make)]
EVERY = pytest.mark.parametrize("make", [make for _, make in STATEFUL], ids=[name for name, _ in STATEFUL])


@EVERY
@pytest.mark.parametrize(
    ("saved", "used"),
    [
        ([(10, 512), (10,)], [(1000, 512), (1000,)]),  # Linear(512, 10) into Linear(512, 1000)
        ([(8, 4), (4, 8)], [(4, 8), (8, 4)]),  # reordered
        ([(6, 1)], [(6, 5)]),  # broadcasts
        ([(6, 5)], [(6, 1)]),
        ([(2, 3)], [(6,)]),
    ],
)
def test_the_state_of_other_parameters_is_refused(make, saved, used):
    state = stepped(make, saved)[1].state_dict()
    params, optimizer = stepped(make, used)
    optimizer.load_state_dict(state)
    before = copy.deepcopy(params)
    with pytest.raises(RuntimeError, match="it belongs to another parameter"):
        optimizer.step()
    assert torch.equal(params[0], before[0])


@EVERY
def test_a_parameter_that_grew_is_refused(make):
    params, optimizer = stepped(make, [(4, 5)])
    params[0].data = torch.randn(9, 5)
    with pytest.raises(RuntimeError):
        optimizer.step()


@pytest.mark.parametrize("which", ["parameter", "gradient", "momentum"])
def test_a_freed_storage_is_refused(which):
    params, optimizer = stepped(SignSGD, [(4, 5)])
    p = params[0]
    tensors = {"parameter": p, "gradient": p.grad, "momentum": optimizer.state[p]["momentum_buffer"]}
    tensors[which].untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="has a storage of 0 bytes"):
        optimizer.step()


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (4, 5), (7,)])
def test_a_gradient_that_shares_its_parameters_memory(shape):
    """Not for the compiled step, whose pointers are apart by contract; the numbers are the plain step's."""
    out = []
    for how in ({}, {"fused": False, "foreach": False}):
        torch.manual_seed(0)
        p = nn.Parameter(torch.randn(shape))
        p.grad = p.data
        assert not fused.takes_tensors(p, p.grad, None)
        SignSGD([p], lr=0.1, **how).step()
        out.append(p.detach())
    assert torch.equal(*out)


def test_lazy_negation_and_zero_tensors_are_not_for_the_compiled_step():
    p = nn.Parameter(torch.ones(4))
    assert not fused.takes_tensors(p, torch._neg_view(torch.ones(4)), None)
    assert not fused.takes_tensors(p, torch._efficientzerotensor(4), None)
    p.grad = torch._neg_view(torch.ones(4))
    SignSGD([p], lr=0.5, beta=0.0).step()
    assert p.tolist() == [1.5] * 4


def test_an_older_graph_notices_the_step():
    """Backward through a graph that needs the parameter as it was raises, as after torch's own steps."""
    for make in (SignSGD, torch.optim.SGD):
        w = nn.Parameter(torch.ones(3))
        loss = (w * w).sum()
        w.grad = torch.ones(3)
        version = w._version
        make([w], lr=0.1).step()
        assert w._version > version
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("how", [{}, {"fused": False, "foreach": False}, {"foreach": True}])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"dither": "pre", "alpha": 0.1}, {"beta": 0.0}]
)
def test_an_infinite_parameter_stays_infinite(how, options):
    p = nn.Parameter(torch.tensor([torch.inf, 1.0, -torch.inf]))
    p.grad = torch.ones(3)
    SignSGD([p], lr=0.5, **options, **how).step()
    assert p[0] == torch.inf
    assert p[2] == -torch.inf


def layouts():
    x = torch.randn(4, 6, 5, 3)
    yield "channels_last", x.to(memory_format=torch.channels_last)
    yield "transposed", torch.randn(30, 12).T
    yield "permuted", x.permute(2, 0, 3, 1)
    yield "one wide", torch.randn(1, 5, 1, 7).permute(0, 3, 2, 1)


@pytest.mark.parametrize("x", [x for _, x in layouts()], ids=[name for name, _ in layouts()])
def test_memory_order_makes_a_tensor_contiguous(x):
    order = layout.memory_order(x)
    assert x.permute(order).is_contiguous()
    assert fused.takes_tensors(nn.Parameter(x), torch.zeros_like(x), torch.zeros_like(x))


@pytest.mark.parametrize("options", [{}, {"dither": "pre", "alpha": 0.1}])
@pytest.mark.parametrize("x", [x for _, x in layouts()], ids=[name for name, _ in layouts()])
def test_a_momentum_of_another_layout_is_used(x, options):
    """Loading keeps the layout that the momentum was saved with: the numbers must not depend on it."""
    torch.manual_seed(1)
    momentum, gradient, out = torch.randn(x.shape), torch.randn(x.shape), []
    for m in (momentum, torch.empty_like(x).copy_(momentum)):
        for how in ({}, {"fused": False, "foreach": False}):
            p = nn.Parameter(x.clone(memory_format=torch.preserve_format))
            optimizer = SignSGD([p], lr=0.1, **options, **how)
            optimizer.state[p]["momentum_buffer"] = m.clone(memory_format=torch.preserve_format)
            for _ in range(3):
                p.grad = gradient.clone()
                optimizer.step()
            out.append((p.detach(), optimizer.state[p]["momentum_buffer"]))
    for p, m in out[1:]:
        assert torch.equal(p, out[0][0])
        assert torch.equal(m, out[0][1])


@pytest.mark.parametrize("options", [{}, {"dither": "pre", "alpha": 0.1}])
def test_parameters_that_share_memory_are_stepped_one_by_one(options):
    """Windows of one storage, large enough for several threads: the numbers are the plain step's."""
    n, out, threads = 1 << 20, [], torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for how in ({}, {"fused": False, "foreach": False}):
            torch.manual_seed(0)
            base = torch.randn(2 * n)
            params = [nn.Parameter(base[a : a + n]) for a in range(0, n + 1, n // 4)]
            for p in params:
                p.grad = torch.randn(n)
            SignSGD(params, lr=0.1, weight_decay=0.5, **options, **how).step()
            out.append(base)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*out)


def test_overlap_is_seen_only_where_something_is_written():
    x, g = torch.zeros(8), torch.zeros(4)
    assert not fused._overlap([(x[:4], g, None, 0), (x[4:], g, None, 1)])  # gradients may be shared
    assert fused._overlap([(x[:5], g, None, 0), (x[4:], g, None, 1)])
    assert fused._overlap([(x[:4], g, None, 0), (x[4:], x[:4], None, 1)])
    assert fused._overlap([(x[:4], g, x[4:], 0), (torch.zeros(2), x[5:7], None, 1)])


def test_a_thread_that_outlives_the_main_one_can_step():
    """Python shuts thread pools down before it waits for other threads."""
    script = """
import threading, torch
from sign_ablate.optim import SignSGD
torch.set_num_threads(2)
def late():
    threading.main_thread().join()
    p = torch.nn.Parameter(torch.ones(1 << 22))
    p.grad = torch.ones_like(p)
    SignSGD([p], lr=0.5).step()
    print(p.unique().tolist())
threading.Thread(target=late).start()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout == "[0.5]\n", ran.stderr


@pytest.mark.parametrize("options", [{}, {"dither": "pre", "alpha": 0.1}])
def test_transforms_of_torch_func_take_the_plain_step(options):
    def stepped_sum(x):
        p = x.detach()
        p.grad = torch.ones(3)
        SignSGD([p], lr=0.5, **options).step()
        return p.sum()

    x = torch.full((2, 3), 2.0)
    expected = [stepped_sum(row).item() for row in x.clone()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slow in-place operations
        found = torch.func.vmap(stepped_sum)(x)
    assert found.tolist() == expected

    def sum_of_a_step(g):
        p = nn.Parameter(torch.ones(3))
        p.grad = g
        SignSGD([p], lr=0.5, **options).step()
        return p.detach().sum()

    assert torch.func.grad(sum_of_a_step)(torch.ones(3)).tolist() == [0.0] * 3


@pytest.mark.parametrize("how", [{}, {"fused": False, "foreach": False}, {"foreach": True}])
def test_inference_tensors_are_refused_outside_inference_mode(how):
    """Refused as by torch's in-place operations, before the momentum moves."""
    with torch.inference_mode():
        p = nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    optimizer = SignSGD([p], lr=0.5, **how)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode"):
        optimizer.step()
    assert not optimizer.state[p]["momentum_buffer"].any()
    with torch.inference_mode():
        optimizer.step()
    assert p.tolist() == [0.5] * 4


def sanitizer():
    """The libraries to preload; None where the compiler has no address sanitizer.

    Triton throws C++ exceptions while it is imported. The sanitizer can pass them on only where the
    C++ library is loaded as well.
    """
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        return None
    paths = []
    for name in ("libasan.so", "libstdc++.so.6"):
        command = [compiler, f"-print-file-name={name}"]
        paths.append(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    return " ".join(paths) if all(Path(path).is_absolute() for path in paths) else None


@pytest.mark.skipif(native.library() is None, reason="no C compiler")
def test_random_tensors_and_states_under_an_address_sanitizer(tmp_path):
    """The fused step equals the plain one or both refuse, and no byte outside the tensors is touched."""
    if sanitizer() is None:
        pytest.skip("the compiler has no address sanitizer")
    environment = os.environ | {
        "LD_PRELOAD": sanitizer(), "ASAN_OPTIONS": "detect_leaks=0", "SANITIZE": "1",
        "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.optim.fuzz_step", "400", "7"]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "parameters stepped in C" in ran.stdout
    print(ran.stdout)
