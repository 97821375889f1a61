"""From config.yaml to steps: every name, every option, and what an option may not be."""

from typing import Any

import pytest
import torch
from torch import nn

from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.identity import parse_run
from sign_ablate.config.errors import ConfigError
from sign_ablate.config.load import parse_campaign
from sign_ablate.config.methods import OPTIMIZERS, Optimizer
from sign_ablate.optim.registry import METHODS, build
from tests.optim.cases import assert_bitwise, gradients, parameters

SHAPES = [(4,), (6, 30), (3, 2, 3, 3)]

#: what a method must or should say, to get through all of its phases in a few steps
REQUIRED: dict[str, dict[str, Any]] = {
    "dithered": {"site": "pre", "alpha": 0.1},
    "dithered-hybrid": {"site": "pre", "alpha": 0.1, "t_switch": 1},
    "hybrid": {"t_switch": 1},
    "linear-twin": {"alpha": 0.1},
    "sgd-noise": {"alpha": 0.1},
    "naive-switch": {"t_switch": 1},
    "onebit-adam": {"warmup_steps": 3},
    "swats": {"tol": 1e9},
}
_DECAY: dict[str, tuple[dict[str, Any], Any]] = {
    "lr": ({}, 0.02),
    "weight_decay": ({}, 0.1),
    "decoupled": ({"weight_decay": 0.1}, True),
}
_SIGMA: dict[str, tuple[dict[str, Any], Any]] = {
    "alpha": ({}, 0.4),
    "gamma": ({}, 0.0),
    "k_unit": ({}, "epoch"),
}
_COMPRESSED = {**_DECAY, "momentum": ({}, 0.9), "momentum_after": ({"momentum": 0.9}, True)}

#: optimizer → option → (what it needs beside it, a value other than the default)
CHANGES: dict[str, dict[str, tuple[dict[str, Any], Any]]] = {
    "lion": {"lr": ({}, 0.02), "weight_decay": ({}, 0.1), "beta1": ({}, 0.5), "beta2": ({}, 0.5)},
    "linear-twin": {
        "lr": ({}, 0.02),
        "weight_decay": ({}, 0.1),
        "decoupled": ({"weight_decay": 0.1}, False),
        "beta": ({}, 0.5),
        "momentum_form": ({}, "heavy_ball"),
        "loss_scale": ({}, 2.0),
        "noise": ({}, True),
        **_SIGMA,
    },
    "sgd-noise": {
        "lr": ({}, 0.02),
        "weight_decay": ({}, 0.1),
        "momentum": ({}, 0.5),
        "nesterov": ({}, True),
        **_SIGMA,
    },
    "scaled-sign": _COMPRESSED,
    "ef-signsgd": _COMPRESSED,
    "onebit-sgd": {**_COMPRESSED, "error_feedback": ({}, False), "columns": ({}, False)},
    "qsgd": {
        **_COMPRESSED,
        "error_feedback": ({}, True),
        "levels": ({}, 3),
        "norm": ({}, "l2"),
        "bucket": ({}, 16),
    },
    "terngrad": {**_COMPRESSED, "error_feedback": ({}, True), "clip": ({}, None)},
    "topk": {**_COMPRESSED, "error_feedback": ({}, False), "fraction": ({}, 0.5)},
    "swats": {
        "lr": ({}, 0.02),
        "weight_decay": ({}, 0.1),
        "beta1": ({}, 0.5),
        "beta2": ({}, 0.5),
        "eps": ({}, 1e-2),
        "tol": ({}, 0.0),
        "scope": ({}, "tensor"),
    },
    "onebit-adam": {
        **_DECAY,
        "warmup_steps": ({}, 5),
        "beta1": ({}, 0.5),
        "beta2": ({}, 0.5),
        "eps": ({}, 1e-2),
        "norm": ({}, "l1"),
        "bias_correction": ({}, True),
    },
}
if "exclude_norm_bias" in Optimizer.model_fields:  # an option that all optimizers share
    for _options in CHANGES.values():
        _options["exclude_norm_bias"] = ({"weight_decay": 0.1}, True)
PAIRS = [(name, option) for name, options in CHANGES.items() for option in options]


def _campaign(**methods: Any) -> Any:
    return parse_campaign(
        {
            "campaign": "configured",
            "seeds": [3],
            "datasets": {"digits": {"source": "digits"}},
            "train": {"epochs": 2},
            "methods": methods,
        }
    )


def _end(name: str, seed: int = 3, **options: Any) -> list[nn.Parameter]:
    """The parameters after eight steps of the optimizer that the configuration describes."""
    method = {"optimizer": name, "lr": 0.01, **REQUIRED.get(name, {}), **options}
    (run,) = expand(_campaign(method=method))
    model = parse_run(run.spec).method  # as the training job reads it
    params = parameters(SHAPES)
    values = model.model_dump(exclude={"optimizer"})
    optimizer = build(model.optimizer, values, params, seed=seed, steps_per_epoch=4)  # type: ignore[attr-defined]
    for step in range(8):
        for p, g in zip(params, gradients(params, step), strict=True):
            p.grad = g
        optimizer.step()
    return params


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_name_trains(name: str) -> None:
    params = _end(name)
    for before, p in zip(parameters(SHAPES), params, strict=True):
        assert torch.isfinite(p).all()
        assert not torch.equal(before, p)
    assert_bitwise([p.data for p in _end(name)], [p.data for p in params])


def test_names_are_different_optimizers() -> None:
    ends = {name: torch.cat([p.detach().flatten() for p in _end(name)]) for name in OPTIMIZERS}
    names = sorted(ends)
    same = {(a, b) for a in names for b in names if a < b and torch.equal(ends[a], ends[b])}
    assert not {pair for pair in same if set(pair) & set(CHANGES)}


_SUM = {"momentum_form": "heavy_ball", "loss_scale": 128.0}
_SWITCH = {"lr": 0.02, "weight_decay": 0.1}
#: readings and controls of the campaigns beside the methods above: optimizer, options
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "pre-dither": ("dithered", {}),
    "pre-dither-sum": ("dithered", _SUM),
    "pre-dither-rms": ("dithered", {"scale": "global_rms"}),
    "constant-dither": ("dithered", {"gamma": 0.0}),
    "post-dither": ("dithered", {"site": "post"}),
    "hybrid": ("hybrid", _SWITCH),
    "hybrid-swats": ("hybrid", {**_SWITCH, "lambda_rule": "swats"}),
    "sign-matched": ("hybrid", {**_SWITCH, "after": "sign"}),
    "gradient-kept": ("hybrid", {**_SWITCH, "length": "kept"}),
    "stable": ("hybrid", {"t_switch": None, "trigger": "stable", "tolerance": 0.5, "patience": 2}),
    "swats-trigger": ("hybrid", {"t_switch": None, "trigger": "swats", "tolerance": 1.0}),
    "dithered-hybrid": ("dithered-hybrid", _SWITCH),
    "naive-switch": ("naive-switch", _SWITCH),
    "naive-switch-sgd": ("naive-switch", {**_SWITCH, "sgd_lr": 0.1}),
    "twin": ("linear-twin", {}),
    "twin-noise": ("linear-twin", {"noise": True}),
    "twin-sum": ("linear-twin", _SUM),
    "sgd": ("sgd", {}),
    "sgd-noise": ("sgd-noise", {}),
}


def test_arms_are_different() -> None:
    ends = {
        arm: torch.cat([p.detach().flatten() for p in _end(name, **options)])
        for arm, (name, options) in ARMS.items()
    }
    assert not [(a, b) for a in ends for b in ends if a < b and torch.equal(ends[a], ends[b])]


def test_arms_that_are_the_same() -> None:
    """A control without its change is the method that it controls for."""
    same = [
        (("hybrid", {**_SWITCH, "after": "sign", "length": "kept"}), ("signsgd-m", _SWITCH)),
        (("sgd-noise", {"alpha": 0.0}), ("sgd", {})),
    ]
    for (one, options), (other, others) in same:
        assert_bitwise([p.data for p in _end(one, **options)], [p.data for p in _end(other, **others)])


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_every_option_changes_the_trajectory(name: str, option: str) -> None:
    needs, value = CHANGES[name][option]
    model = OPTIMIZERS[name].model_fields[option]
    assert value != REQUIRED.get(name, {}).get(option, model.default)
    one, other = _end(name, **needs), _end(name, **{**needs, option: value})
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_no_option_is_forgotten(name: str) -> None:
    assert set(CHANGES[name]) == set(OPTIMIZERS[name].model_fields) - {"optimizer"}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_the_seed_matters_where_noise_is_drawn(name: str) -> None:
    one, other = _end(name, seed=1), _end(name, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) == (
        name not in {"qsgd", "terngrad", "sgd-noise"}
    )


def test_a_method_has_its_own_defaults_when_it_is_built() -> None:
    for name, feeds_back in (("topk", True), ("onebit-sgd", True), ("qsgd", False)):
        optimizer = build(name, {"lr": 0.1}, parameters(), seed=0, steps_per_epoch=1)
        assert optimizer.param_groups[0]["error_feedback"] is feeds_back


def test_an_unknown_name_lists_the_known_ones() -> None:
    known = ", ".join(sorted(METHODS))
    with pytest.raises(ValueError, match=f"^unknown optimizer 'lionn' \\(known: {known}\\)$"):
        build("lionn", {}, parameters(), seed=0, steps_per_epoch=1)
    with pytest.raises(ConfigError, match=f"did you mean lion\\? \\(known: {known}\\)"):
        _campaign(method={"optimizer": "lionn", "lr": 0.1})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            {"optimizer": "qsgd", "lr": 0.1, "fraction": 0.1},
            "fraction = 0.1: does not apply to optimizer qsgd",
        ),
        ({"optimizer": "topk", "lr": 0.1, "fraction": 0.0}, "fraction = 0.0: must be greater than 0"),
        ({"optimizer": "scaled-sign", "lr": 0.1, "error_feedback": True}, "does not apply"),
        ({"optimizer": "onebit-adam", "lr": 0.1}, "warmup_steps: required, but missing"),
        (
            {"optimizer": "topk", "lr": 0.1, "momentum_after": True},
            "momentum_after has no effect without momentum",
        ),
        (
            {"optimizer": "swats", "lr": 0.1, "scope": "group"},
            "scope = 'group': must be 'global' or 'tensor'",
        ),
    ],
)
def test_bad_options_are_one_line(method: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _campaign(method=method)
    (line,) = str(caught.value).splitlines()
    assert message in line
    assert line.startswith("methods.method")


def test_a_compressor_axis() -> None:
    runs = expand(
        _campaign(
            qsgd={
                "optimizer": "qsgd",
                "lr": 0.1,
                "levels": [1, 3],
                "bucket": [None, 64],
                "error_feedback": [False, True],
            }
        )
    )
    assert len({run.id for run in runs}) == 8
