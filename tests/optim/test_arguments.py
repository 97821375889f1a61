"""Arguments of the constructors and of groups: keywords, pairs, numpy's numbers, the caller's dict."""

import copy
import io

import numpy as np
import pytest
import torch

from sign_ablate.optim import SWATS, CompressedSGD, HybridSignSGD, Lion, OneBitAdam, SignSGD

EVERY_CLASS = {
    SignSGD: {}, HybridSignSGD: {"switch_step": 3}, Lion: {}, CompressedSGD: {"compressor": None}, SWATS: {},
    OneBitAdam: {"warmup_steps": 2},
}  # fmt: skip


def parameters(*sizes):
    return [torch.nn.Parameter(torch.ones(size)) for size in sizes]


@pytest.mark.parametrize("cls", EVERY_CLASS)
def test_params_may_be_a_keyword(cls):
    optimizer = cls(lr=0.1, params=parameters(2), **EVERY_CLASS[cls])
    assert optimizer.param_groups[0]["lr"] == 0.1
    with pytest.raises(TypeError, match=rf"{cls.__name__}.__init__\(\) missing .* argument: 'params'"):
        cls(lr=0.1, **EVERY_CLASS[cls])


@pytest.mark.parametrize("cls", EVERY_CLASS)
@pytest.mark.parametrize("group", [None, [torch.nn.Parameter(torch.ones(1))]])
def test_a_group_is_a_dict(cls, group):
    optimizer = cls(parameters(2), lr=0.1, **EVERY_CLASS[cls])
    with pytest.raises(TypeError, match="param_group must be a dict"):
        optimizer.add_param_group(group)


@pytest.mark.parametrize("betas", [{0.9, 0.99}, {0.9: 1, 0.99: 2}])
def test_a_pair_has_an_order(betas):
    with pytest.raises(ValueError, match="betas must be two numbers"):
        Lion(parameters(2), betas=betas)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Lion, {"betas": [np.float64(0.9), 0.99]}),
        (Lion, {"betas": np.array([0.9, 0.99])}),
        (CompressedSGD, {"compressor": {"name": np.str_("qsgd"), "levels": np.int64(3)}}),
        (CompressedSGD, {"compressor": {"name": "terngrad", "clip": np.float64(2.5)}}),
        (SignSGD, {"dither": np.str_("pre"), "alpha": np.float64(0.1)}),
    ],
)
def test_values_of_numpy_load_with_weights_only(cls, options):
    optimizer = cls(parameters(2), lr=0.1, **options)
    saved = optimizer.state_dict()
    assert _through_a_file(saved) == saved
    foreign = copy.deepcopy(saved)  # of another library, or of a version that did not convert
    foreign["param_groups"][0] |= {"lr": np.float64(0.2), **options}
    optimizer.load_state_dict(foreign)
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert _through_a_file(optimizer.state_dict()) == {
        **saved, "param_groups": [{**saved["param_groups"][0], "lr": 0.2}]
    }  # fmt: skip


def _through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_callers_compressor_is_copied():
    compressor = {"name": "qsgd", "levels": 3}
    optimizer = CompressedSGD(parameters(2), lr=0.1, compressor=compressor)
    compressor["levels"] = 0
    assert optimizer.param_groups[0]["compressor"]["levels"] == 3
