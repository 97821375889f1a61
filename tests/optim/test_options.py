"""Every option changes the trajectory, is refused where it would not, and is in the configuration."""

import inspect

import pytest
import torch
from pydantic import ValidationError

from sign_ablate.config.methods import OPTIMIZERS
from sign_ablate.optim import HybridSignSGD, SignSGD, decay_groups
from sign_ablate.optim.options.declare import declared, inert
from sign_ablate.optim.options.hybrid import HybridSignSGDOptions
from sign_ablate.optim.registry import build
from tests.optim.helpers import equal

PRE = {"dither": "pre", "alpha": 0.5}
POST = {"dither": "post", "alpha": 0.5}
SWITCH = {"switch_step": 3, "eta": 0.5}
STABLE = {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9}

#: class, base options, the options that change
CHANGES = [
    (SignSGD, {}, {"lr": 0.01}),
    (SignSGD, {}, {"beta": 0.5}),
    (SignSGD, {}, {"weight_decay": 0.1}),
    (SignSGD, {"weight_decay": 0.1}, {"decoupled": False}),
    (SignSGD, {}, {"momentum_dtype": "bfloat16"}),
    (SignSGD, {}, {"sign_of_zero": "plus"}),
    (SignSGD, {}, {"sign_of_zero": "random"}),
    (SignSGD, {"sign_of_zero": "random"}, {"seed": 1}),
    (SignSGD, {}, {"maximize": True}),
    (SignSGD, {"weight_decay": 0.1, "decoupled": False}, {"loss_scale": 0.01}),
    (SignSGD, {}, PRE),
    (SignSGD, PRE, {"alpha": 0.1}),
    (SignSGD, PRE, {"gamma": 2.0}),
    (SignSGD, PRE, {"seed": 1}),
    (SignSGD, PRE, {"law": "uniform"}),
    (SignSGD, PRE, {"law": "subtractive"}),
    (SignSGD, PRE, {"scale": "global_rms"}),
    (SignSGD, {**PRE, "scale": "global_rms"}, {"scale": "tensor_rms"}),
    (SignSGD, PRE, {"k_unit": "epoch", "steps_per_epoch": 3}),
    (SignSGD, {**PRE, "k_unit": "epoch", "steps_per_epoch": 3}, {"steps_per_epoch": 2}),
    (SignSGD, PRE, {"loss_scale": 128.0}),
    (HybridSignSGD, {"switch_step": 3, "calibrate": False}, {"loss_scale": 128.0}),
    (SignSGD, PRE, {"momentum_form": "heavy_ball"}),
    (SignSGD, PRE, {"dither": "post"}),
    (SignSGD, POST, {"law": "uniform"}),
    (SignSGD, POST, {"sign_of_zero": "plus"}),
    (HybridSignSGD, {}, SWITCH),
    (HybridSignSGD, SWITCH, {"switch_step": 2}),
    (HybridSignSGD, SWITCH, {"eta": 0.9}),
    (HybridSignSGD, SWITCH, {"eps": 100.0}),
    (HybridSignSGD, SWITCH, {"bias_correction": False}),
    (HybridSignSGD, SWITCH, {"lambda_rule": "swats"}),
    (HybridSignSGD, SWITCH, {"lambda_momentum": "previous"}),
    (HybridSignSGD, {**SWITCH, **PRE}, {"lambda_step": "applied"}),
    (HybridSignSGD, SWITCH, {"sgd_momentum": "swats"}),
    (HybridSignSGD, SWITCH, {"after": "sign"}),
    (HybridSignSGD, SWITCH, {"length": "kept"}),
    (HybridSignSGD, {**SWITCH, "after": "sign"}, {"length": "kept"}),
    (HybridSignSGD, SWITCH, {"calibrate": False, "eta": 0.999}),
    (HybridSignSGD, {"switch_step": 3, "calibrate": False}, {"sgd_lr": 0.1}),
    (HybridSignSGD, {}, STABLE),
    (HybridSignSGD, STABLE, {"tolerance": 1e-9}),
    (HybridSignSGD, STABLE, {"patience": 3}),
    (HybridSignSGD, STABLE, {"trigger": "swats", "patience": None, "tolerance": 10.0}),
]


@pytest.mark.parametrize(
    ("cls", "base", "change"), CHANGES, ids=lambda x: str(x) if isinstance(x, dict) else x.__name__
)
def test_every_option_changes_the_trajectory(cls, base, change):
    one, _ = run_with_zeros(cls, base)
    two, _ = run_with_zeros(cls, {**base, **change})
    assert not equal(one, two)


def run_with_zeros(cls, options):
    """Like `run`, with a parameter whose gradient stays 0: the sign of zero matters there."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(40, 30)), torch.nn.Parameter(torch.randn(20))]
    optimizer = cls(params, **options)
    for k in range(8):
        generator = torch.Generator().manual_seed(k)
        params[0].grad = torch.randn(40, 30, generator=generator)
        params[1].grad = torch.zeros(20)
        optimizer.step()
    return params, optimizer


def test_scope_group_and_frozen_schedule_change_the_trajectory():
    """These two need groups that differ, or a learning rate that changes after the switch."""
    results = {}
    for name, options in {
        "base": {},
        "group": {"lambda_scope": "group"},
        "tensor": {"lambda_scope": "tensor"},
        "frozen": {"lambda_schedule": "frozen"},
    }.items():
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(40)) for _ in range(2)]
        optimizer = HybridSignSGD([{"params": [p]} for p in params], **SWITCH, **options)
        for k in range(6):
            for i, p in enumerate(params):
                p.grad = torch.randn(40, generator=torch.Generator().manual_seed(10 * k + i)) * 10.0**i
            if k == 4:
                for group in optimizer.param_groups:
                    group["lr"] /= 10
            optimizer.step()
        results[name] = params
    assert not equal(results["base"], results["group"])
    assert equal(results["tensor"], results["group"])  # one tensor in each group
    assert not equal(results["base"], results["frozen"])


def test_the_list_of_changes_is_complete():
    """Every option of a constructor is in the list, apart from implementations and where it lives."""
    elsewhere = {"params", "foreach", "fused", "differentiable", "capturable"}
    elsewhere |= {"stochastic_rounding"}  # test_noise
    elsewhere |= {"lambda_schedule", "lambda_scope"}  # above
    tested = {key for _, _, change in CHANGES for key in change}
    for cls in (SignSGD, HybridSignSGD):
        names = set(inspect.signature(cls.__init__).parameters) - {"self"}
        assert names - elsewhere - tested == set()


NEEDS = [
    (name, need)
    for name, own in declared(HybridSignSGDOptions).items()
    for need in own.option.needs
    if name != "law" or need.value != "subtractive"
]


@pytest.mark.parametrize(("name", "need"), NEEDS, ids=lambda x: x if isinstance(x, str) else x.reason)
def test_an_option_without_effect_is_an_error(name, need):
    """Each need has a combination that it alone rejects, and the constructor rejects it in one line."""
    values = {
        "decoupled": False, "momentum_form": "heavy_ball", "loss_scale": 2.0, "momentum_dtype": "bfloat16",
        "sign_of_zero": "plus", "alpha": 0.1, "gamma": 0.1, "law": "uniform", "scale": "global_rms",
        "k_unit": "epoch", "steps_per_epoch": 5, "eta": 0.5, "eps": 1e-3, "bias_correction": False,
        "lambda_rule": "swats", "lambda_scope": "tensor", "lambda_step": "applied",
        "lambda_momentum": "previous", "lambda_schedule": "frozen", "sgd_lr": 0.1, "sgd_momentum": "swats",
        "trigger": "plateau", "switch_step": 3, "tolerance": 0.1, "patience": 3,
        "after": "sign", "length": "kept",
    }  # fmt: skip
    contexts = [
        {},
        {"beta": 0.0, **PRE},
        PRE,
        {**PRE, "gamma": 0.0},
        {"calibrate": False, "switch_step": 3, **PRE},
        {"eta": 0.0},
        {"beta": 0.0},
        {**STABLE},
        {**PRE, "lambda_step": "applied"},
        {"after": "sign"},
        {"length": "kept"},
        {"lambda_scope": "tensor"},
    ]
    defaults = {key: own.default for key, own in declared(HybridSignSGDOptions).items()}
    assert values[name] != defaults[name]
    found = []
    wrong = {(name, f"has no effect {need.reason}"), (name, f"{values[name]!r} needs {need.reason}")}
    for context in contexts:
        options = {**context, name: values[name]}
        if wrong & set(inert(HybridSignSGDOptions, {**defaults, **options})):
            found.append(options)
    assert found
    for options in found:
        with pytest.raises(ValueError, match=r"^\w+ (has no effect|'\w+' needs) [^\n]*$"):
            HybridSignSGD([torch.nn.Parameter(torch.ones(2))], **options)


def test_an_option_of_one_group_may_have_no_effect_in_another():
    decaying, other = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))

    def groups():
        return [{"params": [decaying]}, {"params": [other], "weight_decay": 0.0}]

    SignSGD(groups(), weight_decay=0.1, decoupled=False)
    with pytest.raises(ValueError, match="decoupled has no effect without weight_decay"):
        SignSGD(groups(), decoupled=False)


def test_stochastic_rounding_is_refused_only_if_no_group_that_sets_it_has_a_bfloat16_parameter():
    half, full = (torch.nn.Parameter(torch.ones(2, dtype=t)) for t in (torch.bfloat16, torch.float32))
    SignSGD([{"params": [full]}, {"params": [half]}], stochastic_rounding=True)
    with pytest.raises(ValueError, match="stochastic_rounding has no effect without bfloat16 parameters"):
        SignSGD([{"params": [full], "stochastic_rounding": True}, {"params": [half]}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"lr": float("nan")}, "lr must be a finite number, at least 0, got nan"),
        ({"beta": 1.0}, "beta must be in [0, 1), got 1.0"),
        ({"dither": "before"}, "dither must be one of None, 'pre', 'post'; got 'before'"),
        ({"dither": "post", "law": "subtractive"}, "law 'subtractive' needs pre-sign dither"),
        ({**PRE, "k_unit": "epoch"}, "k_unit 'epoch' needs steps_per_epoch"),
        ({"stochastic_rounding": True}, "stochastic_rounding has no effect without bfloat16 parameters"),
    ],
)
def test_errors_name_the_option_and_what_is_allowed(options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        SignSGD([torch.nn.Parameter(torch.ones(2))], **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bfloat16_momentum_of_a_bfloat16_parameter_is_refused():
    with pytest.raises(ValueError, match="momentum_dtype"):
        SignSGD([torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))], momentum_dtype="bfloat16")


def constructor(name):
    """Options and defaults that the constructor behind a configured optimizer takes."""
    hybrid = {"hybrid", "dithered-hybrid", "naive-switch"}
    out = {}
    for cls in (SignSGD, HybridSignSGD) if name in hybrid else (SignSGD,):
        for key, value in inspect.signature(cls.__init__).parameters.items():
            out[key] = value.default
    for key in ("self", "params"):
        out.pop(key, None)
    return out


#: in the constructor only: the run's, or the registry's to give
NOT_CONFIGURED = {
    "seed", "steps_per_epoch", "switch_step", "calibrate", "foreach", "fused", "maximize", "differentiable",
    "capturable", "stochastic_rounding",
}  # fmt: skip
DITHER_ONLY = {"dither", "alpha", "gamma", "law", "scale", "k_unit", "momentum_form"}
LAMBDA_ONLY = {
    "trigger", "tolerance", "patience", "eta", "bias_correction", "eps", "lambda_rule", "lambda_scope",
    "lambda_momentum", "lambda_schedule", "after", "length",
}  # fmt: skip
LEFT_OUT = {
    "signsgd": DITHER_ONLY | {"beta", "momentum_dtype"},
    "signsgd-m": DITHER_ONLY,
    "dithered": set(),
    "hybrid": DITHER_ONLY | {"lambda_step", "sgd_lr"},
    "dithered-hybrid": {"sgd_lr"},
    "naive-switch": DITHER_ONLY | LAMBDA_ONLY | {"lambda_step"},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_the_configuration_and_the_constructor_are_in_step(name):
    fields = OPTIMIZERS[name].model_fields
    configured = {{"site": "dither"}.get(key, key) for key in fields}
    taken = constructor(name)
    assert (
        configured - {"optimizer", "exclude_norm_bias", "t_switch"}
        == set(taken) - NOT_CONFIGURED - LEFT_OUT[name]
    )
    for key, field in fields.items():
        if key in taken and not field.is_required():
            assert field.default == taken[key], key


VALUES = {
    "signsgd": {},
    "signsgd-m": {},
    "dithered": {"site": "pre", "alpha": 0.1},
    "hybrid": {"t_switch": 2},
    "dithered-hybrid": {"t_switch": 2, "site": "pre", "alpha": 0.1},
    "naive-switch": {"t_switch": 2},
}


@pytest.mark.parametrize("name", VALUES)
def test_every_configured_method_is_built_and_steps(name):
    options = OPTIMIZERS[name](lr=0.1, **VALUES[name]).model_dump()
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = build(options.pop("optimizer"), options, [p], seed=1, steps_per_epoch=10)
    p.grad = torch.ones(3)
    optimizer.step()
    assert not torch.equal(p, torch.ones(3))
    if "t_switch" in VALUES[name]:
        assert optimizer.param_groups[0]["switch_step"] == 20


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("signsgd", {"decoupled": False}, "decoupled has no effect without weight_decay"),
        ("signsgd-m", {"exclude_norm_bias": True}, "exclude_norm_bias has no effect without weight_decay"),
        (
            "dithered",
            {"site": "post", "alpha": 0.1, "scale": "global_rms"},
            "scale has no effect without pre-sign",
        ),
        (
            "dithered",
            {"site": "pre", "alpha": 0.1, "gamma": 0.0, "k_unit": "epoch"},
            "k_unit has no effect with gamma",
        ),
        ("hybrid", {"t_switch": 2, "tolerance": 0.1}, "tolerance has no effect without an automatic trigger"),
        ("hybrid", {"trigger": "stable"}, "trigger 'stable' needs tolerance"),
        ("hybrid", {}, "t_switch: required"),
        (
            "hybrid",
            {"t_switch": 2, "beta": 0.0, "sgd_momentum": "swats"},
            "sgd_momentum has no effect without",
        ),
    ],
)
def test_the_configuration_refuses_what_the_constructor_refuses(name, options, message):
    with pytest.raises(ValidationError, match=message):
        OPTIMIZERS[name](lr=0.1, **options)


def test_exclude_norm_bias_leaves_biases_and_norms_alone():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    options = {"lr": 0.1, "weight_decay": 0.5, "exclude_norm_bias": True}
    for name in ("signsgd-m", "sgd"):
        optimizer = build(name, options, model.parameters(), seed=0, steps_per_epoch=1)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (p.dim() <= 1), name
    groups = decay_groups(model.named_parameters())
    assert [name for name, _ in groups[0]["params"]] == ["0.weight", "2.weight"]
