"""Bad configurations: each gets one clear line with the key, the value and what is allowed."""

import re
from typing import Any

import pytest
import yaml

from sign_ablate.config import ConfigError, load_campaign, parse_campaign
from tests.conftest import ROOT

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (
        {"seedz": [1]},
        r"^seedz: unknown key; did you mean seeds\? \(known: campaign, datasets,",
    ),
    "unknown training key": (
        {"train": {"epoch": 3}},
        r"^train\.epoch: unknown key; did you mean epochs\? \(known: batch_size,",
    ),
    "unknown optimizer key": (
        {"methods": {"sgd": {"lrr": 3}}},
        r"^methods\.sgd\.lrr: unknown key; did you mean lr\? \(known: .*momentum",
    ),
    "unknown data key": (
        {"datasets": {"synthetic": {"image_sise": 8}}},
        r"^datasets\.synthetic\.image_sise: unknown key; did you mean image_size\? \(known: channels,",
    ),
    "unknown optimizer": (
        {"methods": {"sgd": {"optimizer": "sdg"}}},
        r"^methods\.sgd\.optimizer = 'sdg': unknown; did you mean sgd\? \(known: .*adam,.* hybrid,",
    ),
    "no optimizer": (
        {"methods": {"new": {"lr": 0.1}}},
        r"^methods\.new\.optimizer: required, but missing \(known: .*adam",
    ),
    "unknown source": (
        {"datasets": {"synthetic": {"source": "mnist"}}},
        r"^datasets\.synthetic\.source = 'mnist': unknown \(known: cifar10, cifar100, digits,",
    ),
    "number that YAML reads as text": (
        yaml.safe_load("methods: {sgd: {lr: 1e-3}}"),
        r"^methods\.sgd\.lr = '1e-3': must be a valid number \(YAML reads 1e-3 as text: write 1\.0e-3\)$",
    ),
    "text for a number": ({"train": {"epochs": "ten"}}, r"^train\.epochs = 'ten': must be a valid integer$"),
    "number for a switch": ({"train": {"flip": 1}}, r"^train\.flip = 1: must be a valid boolean$"),
    "out of range": (
        {"methods": {"sgd": {"lr": -0.1}}},
        r"^methods\.sgd\.lr = -0\.1: must be greater than 0$",
    ),
    "momentum of 1": (
        {"methods": {"signsgd-m": {"beta": 1.0}}},
        r"^methods\.signsgd-m\.beta = 1\.0: must be less than 1$",
    ),
    "not a number": (
        {"methods": {"sgd": {"lr": float("nan")}}},
        r"^methods\.sgd\.lr = nan: must be a finite number$",
    ),
    "unknown choice": (
        {"execution": {"device": "gpu"}},
        r"^execution\.device = 'gpu': must be 'auto', 'cpu' or 'cuda'$",
    ),
    "fallback without auto": (
        {"execution": {"device": "cuda", "cpu_fallback": True}},
        r"^execution: cpu_fallback: true has no effect without device: auto$",
    ),
    "axis that does not apply": (
        {"methods": {"sgd": {"alpha": [0.1, 0.5]}}},
        r"^methods\.sgd\.alpha = \[0\.1, 0\.5\]: does not apply to optimizer sgd "
        r"\(only to dithered, dithered-hybrid; sgd takes batch_size,",
    ),
    "T_switch without a switch": (
        {"methods": {"adam": {"t_switch": 3}}},
        r"^methods\.adam\.t_switch = 3: does not apply to optimizer adam \(only to hybrid,",
    ),
    "switch that never comes": (
        {"methods": {"hybrid": {"t_switch": 3}}},
        r"^methods\.hybrid\.t_switch = 3: the run has 3 epochs, so the switch never comes; allowed: 0 to 2$",
    ),
    "same cell twice": (
        {"methods": {"copy": {"optimizer": "sgd", "lr": 0.05}}},
        r"^methods\.copy: the run 'copy' on synthetic, seed 0, is the same as 'sgd' on synthetic; remove",
    ),
    "same value twice on an axis": (
        {"methods": {"sgd": {"lr": [0.1, 0.1]}}},
        r"^methods\.sgd: the run 'sgd lr=0\.1' .* is the same as 'sgd lr=0\.1'",
    ),
    "empty axis": (
        {"methods": {"sgd": {"lr": []}}},
        r"^methods\.sgd\.lr = \[\]: an empty axis leaves no run",
    ),
    "no seed": ({"seeds": []}, r"^seeds = \[\]: give at least one seed$"),
    "same seed twice": ({"seeds": [0, 0]}, r"^seeds = \[0, 0\]: a value stands twice; remove one$"),
    "seed that is text": (
        {"seeds": ["0"]},
        r"^seeds\.0 = '0': must be a valid integer \(it is text: remove its quotes\)$",
    ),
    "label that cannot be a path": (
        {"methods": {"my sgd": {"optimizer": "sgd", "lr": 0.1}}},
        r"^methods\.my sgd: a label must match pattern",
    ),
    "epochs and steps": ({"train": {"steps": 10}}, r"^train: give epochs or steps, one of the two$"),
    "milestones without their schedule": (
        {"train": {"milestones": [1]}},
        r"^train: milestones and schedule: multistep go together",
    ),
    "milestone after the end": (
        {"train": {"schedule": "multistep", "milestones": [1, 9]}},
        r"^train: epoch 9 lies at or after the end of the run \(3 epochs\)$",
    ),
    "lr_decay without a schedule": ({"train": {"lr_decay": 0.5}}, r"^train: lr_decay has no effect without"),
    "method that is not a mapping": (
        {"methods": {"sgd": None}},
        r"^methods\.sgd = None: must be a mapping of keys$",
    ),
    "figure of no data set": (
        {"figures": {"figure1": {"dataset": "cifar10"}}},
        r"^figures\.figure1\.dataset = 'cifar10': unknown \(known: synthetic\)$",
    ),
    "figure of no switch": (
        {"figures": {"figure2": {"t_switch": 2}}},
        r"^figures\.figure2\.t_switch = 2: no run switches there \(allowed: 1\)$",
    ),
    "switch in a figure without one": (
        {"figures": {"figure1": {"t_switch": 1}}},
        r"^figures\.figure1\.t_switch = 1: applies to kind: switching only$",
    ),
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    for key, value in over.items():
        both = isinstance(base.get(key), dict) and isinstance(value, dict)
        base[key] = merged(base[key], value) if both else value
    return base


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration_gets_one_clear_line(name: str, tiny: dict[str, Any]) -> None:
    change, expected = BAD[name]
    with pytest.raises(ConfigError) as caught:
        parse_campaign(merged(tiny, change))
    message = str(caught.value)
    assert re.search(expected, message), message
    assert len(message.splitlines()) == 1, message


def test_every_problem_is_reported_at_once(tiny: dict[str, Any]) -> None:
    tiny["methods"]["sgd"]["lr"] = -1.0
    tiny["methods"]["adam"]["beta1"] = 2.0
    with pytest.raises(ConfigError) as caught:
        parse_campaign(tiny)
    assert [line.split(" = ")[0] for line in str(caught.value).splitlines()] == [
        "methods.sgd.lr",
        "methods.adam.beta1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1, 2\n", r"bad\.yaml: line 3: not valid YAML"),
        ("methods:\n  sgd: {lr: 1}\n  sgd: {lr: 2}\n", r"bad\.yaml: line 3: the key 'sgd' stands twice"),
        ("just text\n", r"bad\.yaml: must be a mapping"),
        ("", r"bad\.yaml: must be a mapping"),
    ],
)
def test_broken_file_is_named_with_its_line(text: str, expected: str, tmp_path: Any) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_campaign([path])


def test_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: not found"):
        load_campaign([tmp_path / "nothing.yaml"])


def test_override_wins_and_lists_replace(tmp_path: Any, tiny: dict[str, Any]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny))
    campaign = load_campaign([path], {"seeds": ["7"], "train": {"batch_size": "16"}})  # as --config gives it
    assert campaign.seeds == (7,)
    assert campaign.train == {**tiny["train"], "batch_size": 16}


@pytest.mark.parametrize(
    "path", ["config.yaml", *sorted(p.name for p in (ROOT / "workflow/presets").glob("*"))]
)
def test_shipped_configurations_load(path: str) -> None:
    file = ROOT / path if path == "config.yaml" else ROOT / "workflow/presets" / path
    assert load_campaign([file]).campaign == ("demo" if path == "config.yaml" else file.stem)
