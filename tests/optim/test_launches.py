"""Launches of a step on ResNet-18's parameters, counted on the meta device, which takes a GPU's paths."""

import importlib.util

import pytest
import torch

from benchmarks import launches
from sign_ablate.optim import QSGD, CompressedSGD, HybridSignSGD, SignSGD
from sign_ablate.optim.registry import METHODS

#: launches by foreach: where every operation is on all tensors, and else
FEW, MOST = 12, 120
TRITON = 8
SIGN_METHODS = [name for name in METHODS if launches.has_triton(name)]
#: rules beside the registry's defaults
OTHERS = {
    "pre, uniform": (SignSGD, {"dither": "pre", "alpha": 0.1, "law": "uniform"}),
    "post": (SignSGD, {"dither": "post", "alpha": 0.1}),
    "random zero": (SignSGD, {"sign_of_zero": "random"}),
    "hybrid, v": (HybridSignSGD, {"switch_step": 2, "sgd_momentum": "swats"}),
    "stable": (HybridSignSGD, {"trigger": "stable", "tolerance": 0.5, "patience": 2}),
    "capturable": (HybridSignSGD, {"switch_step": 2, "capturable": True}),
    "sign after": (HybridSignSGD, {"switch_step": 2, "after": "sign"}),
    "kept": (HybridSignSGD, {"switch_step": 2, "length": "kept"}),
    "qsgd, norms of tensors": (CompressedSGD, {"compressor": QSGD(bucket=None)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_foreach(name):
    found = launches.launches(launches.registered(name, foreach=True))
    assert len(found) <= (FEW if name in ("signsgd", "signsgd-m", "lion") else MOST), found


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_foreach_of_other_rules(name):
    kind, options = OTHERS[name]
    found = launches.launches(lambda params: kind(params, foreach=True, lr=0.1, **options))
    assert len(found) <= MOST, found


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("name", SIGN_METHODS)
def test_triton(name):
    found = launches.triton_launches(name)
    assert len(found) <= TRITON, found


def test_a_foreach_function_of_different_memory_orders_is_a_launch_for_each_tensor():
    image = torch.empty(2, 3, 4, 4, device="meta")
    alike, mixed = [image, image], [image, image.to(memory_format=torch.channels_last)]
    with launches.Launches() as counted:
        torch._foreach_add_(alike, mixed)
        torch._foreach_add_(alike, alike)
        torch.ones(3).add_(1)
    assert counted.names == ["aten::_foreach_add_"] * 3
