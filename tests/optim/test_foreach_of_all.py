"""Every registered optimizer but the sign methods, by foreach: the numbers of its for-loop."""

import copy
import functools
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from sign_ablate.optim import QSGD, CompressedSGD, Lion, SignSGD, base, flat
from tests.optim.cases import CASES, assert_bitwise
from tests.optim.helpers import make_params, set_grads

#: as many as a chunk and a few, channels_last, a matrix, a scalar, nothing
SHAPES = ((1030,), (4, 3, 3, 3), (7, 5), (), (0,), (5,), (2, 70, 3, 3), (1,))
#: test_implementations.py has the sign methods
KIN = {
    name: make for name, make in CASES.items() if not isinstance(make([nn.Parameter(torch.ones(1))]), SignSGD)
}
KIN["qsgd, largest of a tensor"] = functools.partial(CompressedSGD, lr=0.1, compressor=QSGD(bucket=None))


def stepped(make, foreach, *, dtype=torch.float32, steps=5):
    torch.manual_seed(0)
    params = make_params(SHAPES, dtype=dtype)
    params.append(nn.Parameter(torch.randn(6, 4, dtype=dtype).t()))
    if dtype != torch.float32:  # torch rounds a 16-bit sum of different memory orders in another way
        params = [nn.Parameter(p.detach().contiguous()) for p in params]
    optimizer = make(params, foreach=foreach, weight_decay=0.1)
    for k in range(steps):
        set_grads(params, k)
        params[0].grad[::3] = 0
        if k == 1:
            params[2].grad = None  # it is a step behind the others from now on
        optimizer.step()
    return params, optimizer


def state(optimizer):
    found = copy.deepcopy(optimizer.state_dict())
    for group in found["param_groups"]:
        del group["foreach"]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", KIN.values(), ids=KIN.keys())
def test_foreach_equals_the_for_loop_bit_for_bit(make, dtype):
    (p, one), (q, two) = (stepped(make, flag, dtype=dtype) for flag in (False, True))
    assert_bitwise(list(p), list(q))
    assert_bitwise(state(one), state(two))


def test_foreach_is_the_default_on_a_gpu(monkeypatch):
    """FakeTensors stand in for a GPU."""
    batches = []
    original = Lion._update
    monkeypatch.setattr(Lion, "_update", lambda self, batch: batches.append(batch) or original(self, batch))
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], "_foreach_supported_types", [FakeTensor])
    monkeypatch.setattr(base, "_JOINED", (FakeTensor,))
    with FakeTensorMode(), torch.device("cuda"):
        params = [nn.Parameter(torch.ones(3)) for _ in range(4)]
        for p in params:
            p.grad = torch.ones_like(p)
        Lion(params).step()
        Lion(params, foreach=False).step()
    assert [len(batch.entries) for batch in batches] == [4, 1, 1, 1, 1]


def test_large_models_are_stepped_in_pieces(monkeypatch):
    """A batch has a bounded number of coordinates, and the numbers stay the same."""
    make = CASES["qsgd+ef"]
    p, _ = stepped(make, foreach=True)
    monkeypatch.setattr(base, "MOST", 40)
    q, _ = stepped(make, foreach=True)
    assert_bitwise(list(p), list(q))


@pytest.mark.parametrize("sizes", [(5, 7, 600), (5, 7, 30_000)])
def test_qsgd_pads_many_tensors_to_at_most_twice_their_size(monkeypatch, sizes):
    cat, padded = flat.cat, []
    monkeypatch.setattr(flat, "cat", lambda ts, sizes: padded.append(sum(sizes)) or cat(ts, sizes))
    params = make_params([(size,) for size in sizes])
    optimizer = CompressedSGD(params, lr=0.1, compressor=QSGD(bucket=8192), foreach=True)
    set_grads(params, 0)
    optimizer.step()
    assert all(size <= 2 * sum(sizes) for size in padded)
