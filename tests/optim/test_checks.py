"""Refused arguments: unknown keywords, values of the wrong kind, options that lack another."""

import inspect
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from sign_ablate.optim import (
    QSGD,
    SWATS,
    CompressedSGD,
    HybridSignSGD,
    Lion,
    OneBit,
    OneBitAdam,
    ScaledSign,
    SignSGD,
    TernGrad,
    TopK,
)


@pytest.mark.parametrize(
    ("cls", "options", "unknown"),
    [
        (SignSGD, {}, "momentum"),
        (SignSGD, {}, "switch_step"),
        (SignSGD, {}, "lambda_ema"),
        (HybridSignSGD, {}, "betaa"),
        (HybridSignSGD, {}, "lambda_ema"),
        (Lion, {}, "momentum"),
        (SWATS, {}, "momentum"),
        (OneBitAdam, {"warmup_steps": 1}, "momentum"),
        (CompressedSGD, {"compressor": None}, "momentums"),
    ],
)
def test_an_unknown_keyword_is_a_type_error(cls, options, unknown):
    message = rf"^{cls.__name__}\.__init__\(\) got an unexpected keyword argument '{unknown}'$"
    with pytest.raises(TypeError, match=message):
        cls([torch.nn.Parameter(torch.ones(2))], **options, **{unknown: 0.5})


@pytest.mark.parametrize("compressor", [ScaledSign, OneBit, QSGD, TernGrad, TopK])
def test_an_unknown_keyword_of_a_compressor_is_a_type_error(compressor):
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'level'"):
        compressor(level=3)


def test_other_keys_of_a_group_are_kept_as_torch_keeps_them():
    """Schedulers put theirs there, and users names."""
    group = {"params": [torch.nn.Parameter(torch.ones(2))], "name": "head", "initial_lr": 0.1}
    for cls in (SignSGD, HybridSignSGD, Lion):
        assert cls([dict(group)]).param_groups[0]["name"] == "head"


NUMBERS = {
    SignSGD: ["lr", "beta", "weight_decay", "loss_scale", "alpha", "gamma"],
    HybridSignSGD: ["lr", "beta", "eta", "eps", "tolerance", "sgd_lr"],
    Lion: ["lr", "weight_decay"],
    SWATS: ["lr", "weight_decay", "eps", "tol"],
    OneBitAdam: ["lr", "weight_decay", "eps"],
    CompressedSGD: ["lr", "weight_decay", "momentum"],
    TernGrad: ["clip"],
    TopK: ["fraction"],
}
INTEGERS = {
    SignSGD: ["seed", "steps_per_epoch"],
    HybridSignSGD: ["seed", "switch_step", "patience"],
    OneBitAdam: ["warmup_steps"],
    QSGD: ["levels", "bucket", "seed"],
    TernGrad: ["seed"],
}
FLAGS = {
    SignSGD: [
        "decoupled", "stochastic_rounding", "maximize", "foreach", "fused", "differentiable", "capturable"
    ],
    HybridSignSGD: ["bias_correction", "calibrate"],
    Lion: ["maximize", "foreach"],
    SWATS: ["maximize", "foreach"],
    OneBitAdam: ["maximize", "decoupled", "bias_correction", "foreach"],
    CompressedSGD: ["maximize", "decoupled", "error_feedback", "momentum_after", "foreach"],
    OneBit: ["columns"],
}  # fmt: skip
CHOICES = {
    SignSGD: ["momentum_form", "momentum_dtype", "sign_of_zero", "dither", "law", "scale", "k_unit"],
    HybridSignSGD: [
        "trigger", "lambda_rule", "lambda_scope", "lambda_step", "lambda_momentum", "lambda_schedule",
        "sgd_momentum", "after", "length",
    ],
    SWATS: ["scope"],
    OneBitAdam: ["norm"],
    ScaledSign: ["norm"],
    QSGD: ["norm"],
}  # fmt: skip
WRONG = [
    *[(cls, name, bad, "finite number") for cls, names in NUMBERS.items() for name in names
      for bad in (math.nan, math.inf, True, "0.1", -1.0)],
    *[(cls, name, bad, "integer") for cls, names in INTEGERS.items() for name in names
      for bad in (1.5, 2.0, True, "1", math.nan)],
    *[(cls, name, bad, "True or False") for cls, names in FLAGS.items() for name in names
      for bad in (1, "no")],
    *[(cls, name, bad, "one of") for cls, names in CHOICES.items() for name in names for bad in ("best", 1)],
    *[(cls, "betas", bad, "two numbers in [0, 1)") for cls in (Lion, SWATS, OneBitAdam)
      for bad in (0.9, (0.9,), (0.9, math.nan), (True, 0.9), (0.9, 1.0), "ab")],
]  # fmt: skip
REQUIRED = {OneBitAdam: {"warmup_steps": 1}, CompressedSGD: {"compressor": None}}


@pytest.mark.parametrize(("cls", "name", "bad", "allowed"), WRONG, ids=str)
def test_a_value_of_the_wrong_kind_is_one_line(cls, name, bad, allowed):
    """At construction and, for an optimizer, in a parameter group and in one that is added."""
    p = torch.nn.Parameter(torch.ones(2))
    options = {**REQUIRED.get(cls, {}), name: bad}
    attempts = [lambda: cls(**options)]
    if issubclass(cls, torch.optim.Optimizer):
        kept = cls([torch.nn.Parameter(torch.ones(2))], **REQUIRED.get(cls, {}))
        attempts = [
            lambda: cls([p], **options),
            lambda: cls([{"params": [p], **options}], **REQUIRED.get(cls, {})),
            lambda: kept.add_param_group({"params": [p], **options}),
        ]
    for attempt in attempts:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            attempt()
        allowed = {-1.0: "must be"}.get(bad, allowed) if allowed == "finite number" else allowed
        assert re.match(rf"{name} must be .*got {re.escape(repr(bad))}$", str(error.value))
        assert allowed in str(error.value)
    if issubclass(cls, torch.optim.Optimizer):
        assert len(kept.param_groups) == 1


def test_the_kinds_of_all_options_are_tested():
    """So that a new option is checked: every parameter of every constructor is in one of the lists."""
    kinds = [NUMBERS, INTEGERS, FLAGS, CHOICES]
    for cls in {cls for kind in kinds for cls in kind}:
        bases = [base for base in cls.__mro__ if base is not object]
        tested = {name for kind in kinds for base in bases for name in kind.get(base, [])}
        names = set(inspect.signature(cls.__init__).parameters) - {"self", "params", "betas", "compressor"}
        assert names == tested, cls


@pytest.mark.parametrize("value", [torch.tensor(-1.0), torch.tensor(math.nan), torch.tensor([math.inf])])
@pytest.mark.parametrize("cls", [SignSGD, HybridSignSGD, Lion])
def test_a_bad_tensor_lr_is_one_line(cls, value):
    with pytest.raises(ValueError, match=r"^lr must be .*at least 0, got"):
        cls([torch.nn.Parameter(torch.ones(2))], lr=value)


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_the_naive_hand_off_with_lr_0(kind):
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    naive = {"calibrate": False, "switch_step": 1}
    message = r"^sgd_lr = 0\.1 follows the schedule of lr, which must be above 0, got lr = 0 "
    with pytest.raises(ValueError, match=message):
        HybridSignSGD([p], lr=kind(0.0), sgd_lr=0.1, **naive)
    groups = [{"params": [p]}, {"params": [q], "lr": kind(0.0), "sgd_lr": None}]  # a frozen group
    for optimizer in (HybridSignSGD(groups, lr=0.1, sgd_lr=0.1, **naive), HybridSignSGD([p], 0.0, **naive)):
        p.data.fill_(1.0)
        for _ in range(2):
            p.grad = q.grad = torch.ones(2)
            optimizer.step()
        assert torch.equal(q, torch.ones(2))
        assert torch.equal(p, torch.ones(2)) == (len(optimizer.param_groups) == 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dither": "pre", "k_unit": "epoch"}, "k_unit 'epoch' needs steps_per_epoch"),
        ({"trigger": "swats"}, "trigger 'swats' needs tolerance"),
        ({"fused": True, "foreach": True}, "fused and foreach cannot both be True"),
    ],
)
def test_what_an_option_needs_is_asked_of_every_group(options, message):
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    with pytest.raises(ValueError, match=f"^{message}$"):
        HybridSignSGD([{"params": [p]}, {"params": [q], **options}])
    optimizer = HybridSignSGD([p])
    with pytest.raises(ValueError, match=f"^{message}$"):
        optimizer.add_param_group({"params": [q], **options})
    assert len(optimizer.param_groups) == 1


def test_a_compressor_of_another_kind_is_one_line():
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"^compressor must be a Compressor, its dict or None, got 'topk'$"):
        CompressedSGD([p], compressor="topk")


NUMPY = [
    (
        SignSGD,
        {"lr": np.float32(0.5), "beta": np.float64(0.5), "seed": np.int32(5), "sign_of_zero": "random"},
    ),
    (SignSGD, {"dither": "pre", "alpha": np.float32(0.5), "gamma": np.int64(1), "seed": np.uint8(200)}),
    (HybridSignSGD, {"switch_step": np.int64(1), "eta": np.float32(0.5)}),
    (Lion, {"lr": np.float32(0.5), "betas": (np.float32(0.5), np.float32(0.5))}),
    (OneBitAdam, {"warmup_steps": np.int64(2)}),
    (CompressedSGD, {"compressor": QSGD(levels=np.int64(3), seed=np.int32(7)), "momentum": np.float32(0.5)}),
    (CompressedSGD, {"compressor": TopK(np.float32(0.5))}),
]


@pytest.mark.parametrize(("cls", "options"), NUMPY)
def test_numbers_of_numpy_become_pythons(cls, options, tmp_path):
    """They step, and state dicts load with weights_only."""
    x, y = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = cls([{"params": [x], "lr": np.float32(0.5)}], **options)
    optimizer.add_param_group({"params": [y], "weight_decay": np.float64(0.5)})
    for _ in range(3):
        x.grad, y.grad = torch.zeros(3), torch.ones(3)
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    torch.load(tmp_path / "state.pt", weights_only=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("switch_step", 7), ("trigger", "swats"), ("tolerance", 0.5), ("patience", 3), ("capturable", True)],
)
def test_an_option_of_the_optimizer_is_refused_for_one_group(name, value):
    x, y = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = HybridSignSGD([x], switch_step=5)
    more = {"trigger": {"tolerance": 0.1, "switch_step": None}}.get(name, {})
    with pytest.raises(ValueError, match=rf"^{name} must be equal in all .* give it to the constructor$"):
        optimizer.add_param_group({"params": [y], name: value, **more})
    with pytest.raises(ValueError, match=rf"^{name} must be equal in all .* give it to the constructor$"):
        HybridSignSGD([{"params": [x]}, {"params": [y], name: value, **more}], switch_step=5)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [y], "switch_step": 5})  # equal values are fine
    assert optimizer.param_groups[1]["switch_step"] == 5


def test_differentiable_is_the_optimizers():
    with pytest.raises(ValueError, match=r"^differentiable must be equal in all .* has False"):
        SignSGD([{"params": [nn.Parameter(torch.ones(1))], "differentiable": True}])


def test_later_groups_take_what_all_groups_share():
    x, y, z = (nn.Parameter(torch.ones(1)) for _ in range(3))
    optimizer = HybridSignSGD([{"params": [x], "switch_step": 5}, {"params": [y]}])
    optimizer.add_param_group({"params": [z]})
    assert [group["switch_step"] for group in optimizer.param_groups] == [5, 5, 5]


def test_fused_true_is_refused_for_a_momentum_in_the_sgd_phase():
    """At the first step, not only when the hybrid switches."""
    x = nn.Parameter(torch.ones(1))
    x.grad = torch.ones(1)
    optimizer = HybridSignSGD([x], switch_step=9, sgd_momentum="swats", fused=True)
    with pytest.raises(RuntimeError, match=r"`fused=True` requires .* sgd_momentum"):
        optimizer.step()


@pytest.mark.parametrize(("cls", "options"), [(SWATS, {}), (HybridSignSGD, {"switch_step": 2})])
def test_parameters_on_meta_beside_others_are_refused(cls, options):
    """On meta alone every step works (test_every_optimizer.py)."""
    here, meta = (torch.nn.Parameter(torch.ones(2, device=name)) for name in ("cpu", "meta"))
    with pytest.raises(ValueError, match=f"^{cls.__name__} has parameters on devices cpu, meta .*to_empty"):
        cls([here, meta], lr=0.1, **options)
    optimizer = cls([here], lr=0.1, **options)
    with pytest.raises(ValueError, match="cpu, meta"):
        optimizer.add_param_group({"params": [meta]})
    assert len(optimizer.param_groups) == 1
