"""The Triton step on a CUDA device: graphs, no waiting for the device, launches (`make test-gpu`).

tests/optim/test_triton.py compares its numbers with the plain step's there.
"""

import importlib.util

import pytest
import torch

from benchmarks.gpu import kernels
from benchmarks.optim import resnet18_shapes
from sign_ablate.optim import HybridSignSGD, SignSGD
from tests.optim.helpers import equal, momenta

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
]
PRE = {"dither": "pre", "alpha": 0.1}
METHODS = {
    "signsgd": (SignSGD, {"beta": 0.0}),
    "signsgd-m": (SignSGD, {"weight_decay": 0.1}),
    "pre": (SignSGD, PRE),
    "pre, uniform": (SignSGD, {**PRE, "law": "uniform", "momentum_dtype": "bfloat16"}),
    "pre, subtractive": (SignSGD, {**PRE, "law": "subtractive"}),
    "post": (SignSGD, {**PRE, "dither": "post"}),
    "random zero": (SignSGD, {"sign_of_zero": "random"}),
    "hybrid": (HybridSignSGD, {"switch_step": 5}),
    "hybrid, v": (HybridSignSGD, {"switch_step": 5, "sgd_momentum": "swats", **PRE}),
    "naive": (HybridSignSGD, {"switch_step": 5, "calibrate": False}),
}
#: other rules, which may launch more
OTHERS = {
    "hybrid, each tensor": (HybridSignSGD, {"switch_step": 5, "lambda_scope": "tensor"}),
    "rms": (SignSGD, {**PRE, "scale": "global_rms"}),
    "stable": (HybridSignSGD, {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9}),
}


def parameters(shapes=((64, 65), (300,), (), (8, 4, 3, 3))):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape, device="cuda")) for shape in shapes]
    for p in params:
        p.grad = torch.zeros_like(p)
    return params


def fill(params, step, *, fresh=False):
    for i, p in enumerate(params):
        generator = torch.Generator("cuda").manual_seed(1000 * step + i)
        g = torch.randn(p.shape, generator=generator, device="cuda")
        if fresh:
            p.grad = g
        else:
            p.grad.copy_(g)


@pytest.mark.parametrize("method", METHODS | OTHERS)
def test_a_captured_step_replays_as_the_eager_one(method):
    """Warm-up, capture and replays; a second graph of other gradients, and an eager step between them."""
    cls, options = (METHODS | OTHERS)[method]
    eager, captured = parameters(), parameters()
    one, two = (cls(p, lr=0.01, capturable=True, **options) for p in (eager, captured))
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    for k in range(9):
        fill(eager, k)
        one.step()
        fill(captured, k)
        torch.cuda.synchronize()
        if k < 2:
            with torch.cuda.stream(side):
                two.step()
        elif k in (2, 6):
            for p in captured:
                p.grad = p.grad.clone()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                two.step()
            graph.replay()
        elif k == 5:
            two.step()
        else:
            graph.replay()
        torch.cuda.synchronize()
        assert equal(eager, captured), k
    assert equal(momenta(one), momenta(two))


@pytest.mark.parametrize("fresh", [False, True], ids=["same gradients", "fresh gradients"])
@pytest.mark.parametrize("capturable", [False, True], ids=["default", "capturable"])
@pytest.mark.parametrize("method", METHODS | OTHERS)
def test_no_step_waits_for_the_device(method, capturable, fresh):
    cls, options = (METHODS | OTHERS)[method]
    params = parameters()
    optimizer = cls(params, capturable=capturable, **options)
    for k in range(8):
        fill(params, k, fresh=fresh)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if k else "default")
        try:
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", METHODS)
def test_launches_of_a_step_on_resnet18(method):
    """At most 8, in every phase, once the gradients have their places."""
    cls, options = METHODS[method]
    params = parameters(resnet18_shapes())
    optimizer = cls(params, **options)
    for _ in range(8):
        found = kernels(optimizer.step)
        if optimizer.param_groups[0]["step"] > 2:
            assert len(found) <= 8, found
