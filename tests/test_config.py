"""Bad configurations: each gets one clear line with the key, the value and what is allowed."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sign_ablate.config import ConfigError, Execution, load_campaign, parse_campaign
from sign_ablate.config.read import read_yaml
from tests.conftest import ROOT

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (
        {"seedz": [1]},
        r"^seedz: unknown key; did you mean seeds\? \(known: campaign, datasets,",
    ),
    "unknown key, near one that is no user's": (
        {"tune": {}},
        r"^tune: unknown key; did you mean tuning\? \(known: campaign, .*, train, tuning\)$",
    ),
    "unknown training key": (
        {"train": {"epoch": 3}},
        r"^train\.epoch: unknown key; did you mean epochs\? \(known: adversaries,",
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
    "optimizer in capitals": (
        {"methods": {"sgd": {"optimizer": "SGD"}}},
        r"^methods\.sgd\.optimizer = 'SGD': unknown; did you mean sgd\? ",
    ),
    "axis of optimizers": (
        {"methods": {"sgd": {"optimizer": ["sgd", "adam"]}}},
        r"^methods\.sgd\.optimizer = \['sgd', 'adam'\]: optimizers cannot be an axis; give each a method",
    ),
    "optimizer that is a number": (
        {"methods": {"sgd": {"optimizer": 3}}},
        r"^methods\.sgd\.optimizer = 3: unknown \(known: ",
    ),
    "source in capitals": (
        {"datasets": {"synthetic": {"source": "CIFAR10"}}},
        r"^datasets\.synthetic\.source = 'CIFAR10': unknown; did you mean cifar10\? \(known: cifar10,",
    ),
    "no source": (
        {"datasets": {"new": {"subset": 3}}},
        r"^datasets\.new\.source: required, but missing \(known: cifar10, cifar100, digits, folder,",
    ),
    "axis of data sets": (
        {"datasets": {"synthetic": {"classes": [4, 5]}}},
        r"^datasets\.synthetic\.classes = \[4, 5\]: must be a whole number \(an axis cannot be here; ",
    ),
    "learning rate of all methods": (
        {"train": {"lr": 0.1}},
        r"^train\.lr: belongs to a method; write it in each one that it is for$",
    ),
    "number in quotes": (
        {"methods": {"sgd": {"lr": "1e-3"}}},
        r"^methods\.sgd\.lr = '1e-3': must be a number \(it is text: remove its quotes\)$",
    ),
    "decimal comma": (
        {"methods": {"sgd": {"lr": "0,1"}}},
        r"^methods\.sgd\.lr = '0,1': must be a number \(write 0\.1\)$",
    ),
    "text for a number": ({"train": {"epochs": "ten"}}, r"^train\.epochs = 'ten': must be a whole number$"),
    "fraction for a whole number": ({"train": {"epochs": 1.5}}, r"^train\.epochs = 1\.5: must be a whole"),
    "number for a switch": ({"train": {"flip": 1}}, r"^train\.flip = 1: must be true or false$"),
    "YAML 1.1's word for a switch": ({"train": {"flip": "yes"}}, r"^train\.flip = 'yes': must be true or f"),
    "number for a name": ({"campaign": 2026}, r"^campaign = 2026: must be text; put it in quotes$"),
    "number for a list": ({"seeds": 3}, r"^seeds = 3: must be a list; write \[3\]$"),
    "text for a list": ({"seeds": "0-4"}, r"^seeds = '0-4': must be a list; write \[0, 1, 2\]$"),
    "numbers for a list": ({"seeds": "0, 1"}, r"^seeds = '0, 1': must be a list; write \[0, 1\]$"),
    "mapping for a list": ({"seeds": {"first": 0}}, r"^seeds = \{'first': 0\}: must be a list; write \["),
    "list of lists for a list": ({"seeds": [[0, 1]]}, r"^seeds\.0 = \[0, 1\]: must be a whole number$"),
    "negative seed": ({"seeds": [-1]}, r"^seeds\.0 = -1: must be greater than or equal to 0$"),
    "fraction as a seed": ({"seeds": [0.5]}, r"^seeds\.0 = 0\.5: must be a whole number$"),
    "text for a data set": (
        {"datasets": {"synthetic": "digits"}},
        r"^datasets\.synthetic = 'digits': must be a mapping of keys$",
    ),
    "list for a section": ({"methods": ["sgd"]}, r"^methods = \['sgd'\]: must be a mapping of keys$"),
    "list for the figures": ({"figures": ["figure1"]}, r"^figures = \['figure1'\]: must be a mapping"),
    "text for the execution": ({"execution": "cpu"}, r"^execution = 'cpu': must be a mapping of keys$"),
    "no seeds": ({"seeds": None}, r"^seeds: has no value; it must be a list; write \["),
    "no methods": ({"methods": None}, r"^methods: has no value; it must be a mapping of keys$"),
    "no data sets": ({"datasets": None}, r"^datasets: has no value; it must be a mapping of keys$"),
    "no name": ({"campaign": None}, r"^campaign: has no value; it must be text$"),
    "empty name": ({"campaign": ""}, r"^campaign = '': must begin with a letter or digit"),
    "no learning rate": (
        {"methods": {"sgd": {"lr": None}}},
        r"^methods\.sgd\.lr: has no value; it must be a number$",
    ),
    "no epochs": ({"train": None}, r"^train: give either epochs or steps$"),
    "name of what is in results": (
        {"campaign": "Reference"},
        r"^campaign = 'Reference': reserved: results/reference is not a campaign's; choose another name$",
    ),
    "long name": ({"campaign": "x" * 41}, r"^campaign = 'x+': must have at most 40 characters$"),
    "long value": ({"execution": list(range(1000))}, r"^execution = \[0, 1, 2.{45,55}…: must be a mapping"),
    "key of two lines": ({"a\nb": 1}, r"^'a\\nb': unknown key \(known: "),
    "too large for float32": (
        {"methods": {"sgd": {"lr": 1e300}}},
        r"^methods\.sgd\.lr = 1e\+300: out of range; must be between 1e-30 and 1e\+30$",
    ),
    "too small for float32": (
        {"methods": {"adam": {"eps": 1e-300}}},
        r"^methods\.adam\.eps = 1e-300: out of range; must be between 1e-30",
    ),
    "too large for torch": (
        {"train": {"batch_size": 10**30}},
        r"^train\.batch_size = 10+: out of range; must be at most 4294967296$",
    ),
    "infinite": ({"methods": {"sgd": {"lr": float("inf")}}}, r"^methods\.sgd\.lr = inf: must be a finite n"),
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
        r"\(only to dithered, dithered-hybrid, linear-twin, sgd-noise; sgd takes adversaries,",
    ),
    "T_switch without a switch": (
        {"methods": {"adam": {"t_switch": 3}}},
        r"^methods\.adam\.t_switch = 3: does not apply to optimizer adam \(only to hybrid,",
    ),
    "switch that never comes": (
        {"methods": {"hybrid": {"t_switch": 3}}},
        r"^methods\.hybrid\.t_switch = 3: the run has 3 epochs, so the switch never comes; allowed: 1 to 2$",
    ),
    "switch of votes": (
        {"methods": {"hybrid": {"aggregation": "vote"}}},
        r"^methods\.hybrid\.aggregation = 'vote': hybrid would step along the vote after its switch, too; "
        r"choose mean or ef, or an optimizer without a switch$",
    ),
    "switch at the start": (
        {"methods": {"hybrid": {"t_switch": 0}}},
        r"^methods\.hybrid\.t_switch = 0: must be greater than 0$",
    ),
    "switch in a run of one epoch": (
        {"methods": {"hybrid": {"epochs": 1}}},
        r"^methods\.hybrid\.t_switch = 1: the run has 1 epochs, .*; give it at least 2 epochs$",
    ),
    "same cell twice": (
        {"methods": {"copy": {"optimizer": "sgd", "lr": 0.05}}},
        r"^methods\.copy: the run 'copy' on synthetic, seed 0, is the same as 'sgd' on synthetic; remove",
    ),
    "same value twice on an axis": (
        {"methods": {"sgd": {"lr": [1, 0.1, 1.0]}}},
        r"^methods\.sgd\.lr = \[1, 0\.1, 1\.0\]: a value is given twice; remove one$",
    ),
    "same value twice on an axis of all methods": (
        {"train": {"batch_size": [16, 32, 16]}},
        r"^train\.batch_size = \[16, 32, 16\]: a value is given twice; remove one$",
    ),
    "choice in capitals": (
        {"train": {"model": "ResNet18"}},
        r"^train\.model = 'ResNet18': must be 'small', .*'; did you mean resnet18\?$",
    ),
    "key without a name": ({"": 1}, r"^'': unknown key \(known: "),
    "word that Python takes for a number": (
        {"methods": {"sgd": {"lr": "nan"}}},
        r"^methods\.sgd\.lr = 'nan': must be a number$",
    ),
    "nesterov without momentum": (
        {"methods": {"sgd": {"nesterov": True, "momentum": 0.0}}},
        r"^methods\.sgd: nesterov has no effect without momentum$",
    ),
    "methods that differ in case": (
        {"methods": {"SGD": {"optimizer": "sgd", "lr": 0.1}}},
        r"^methods: sgd and SGD differ in upper and lower case only; rename one$",
    ),
    "figures that differ in case": (
        {"figures": {"Figure1": {"kind": "dithering", "dataset": "synthetic"}}},
        r"^figures: figure1 and Figure1 differ in upper and lower case only; rename one$",
    ),
    "figure called like one of tuning": (
        {"figures": {"Tuning-synthetic": {"kind": "dithering", "dataset": "synthetic"}}},
        r"^figures: Tuning-synthetic: figures of tuning are called tuning-<data set>; rename it$",
    ),
    "empty axis": (
        {"methods": {"sgd": {"lr": []}}},
        r"^methods\.sgd\.lr = \[\]: an empty axis leaves no run",
    ),
    "no seed": ({"seeds": []}, r"^seeds = \[\]: give at least one seed$"),
    "same seed twice": ({"seeds": [0, 0]}, r"^seeds = \[0, 0\]: a value is given twice; remove one$"),
    "seed that is text": (
        {"seeds": ["0"]},
        r"^seeds\.0 = '0': must be a whole number \(it is text: remove its quotes\)$",
    ),
    "label that cannot be a path": (
        {"methods": {"my sgd": {"optimizer": "sgd", "lr": 0.1}}},
        r"^methods\.my sgd: a label must begin with a letter or digit \(ASCII\), and have only these, _, \+",
    ),
    "epochs and steps": ({"train": {"steps": 10}}, r"^train: give either epochs or steps$"),
    "multistep without milestones": (
        {"train": {"schedule": "multistep"}},
        r"^train\.schedule = 'multistep': needs milestones \(schedule: constant has none\)$",
    ),
    "milestone after the end": (
        {"train": {"schedule": "cosine", "milestones": [1, 9]}},
        r"^train\.milestones = \[1, 9\]: must lie before the end of the run, which has 3 epochs$",
    ),
    "milestones that fall": (
        {"train": {"milestones": [2, 1]}},
        r"^train\.milestones = \[2, 1\]: must rise, without repetition$",
    ),
    "milestone after the end of one method": (
        {"train": {"milestones": [1, 2]}, "methods": {"sgd": {"epochs": 2}}},
        r"^train\.milestones = \[1, 2\]: must lie before .* has 2 epochs \(in methods\.sgd\)$",
    ),
    "milestone of a method": (
        {"methods": {"sgd": {"milestones": 5}}},
        r"^methods\.sgd\.milestones = 5: must be a list; write \[5\]$",
    ),
    "warm-up after the end": (
        {"methods": {"sgd": {"warmup_epochs": 3}}},
        r"^methods\.sgd\.warmup_epochs = 3: must lie before the end of the run, which has 3 epochs$",
    ),
    "unknown key of tuning": (
        {"tuning": {"val": 32, "spaces": {"sgd": {"lr": [0.1, 1]}}, "trial": 3}},
        r"^tuning\.trial: unknown key; did you mean trials\? \(known: file, seed, spaces, trials, val\)$",
    ),
    "lr_decay without milestones": (
        {"train": {"schedule": "cosine", "lr_decay": 0.5}},
        r"^train\.lr_decay = 0\.5: has no effect without milestones$",
    ),
    "method that is not a mapping": (
        {"methods": {"sgd": None}},
        r"^methods\.sgd: has no value; it must be a mapping of keys$",
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
    ("content", "expected"),
    [
        (b"a: 1\nb: [1, 2\n", r"line 3: not valid YAML"),
        (b"methods:\n  sgd: {lr: 1}\n  sgd: {lr: 2}\n", r"line 3: the key 'sgd' is given twice"),
        (b"train:\n\tepochs: 1\n", r"line 2: a tab; indent with spaces$"),
        (b"a: 1\n---\nb: 1\n", r"line 2: a second document begins \(---\); a file has one$"),
        (b"a: !x 1\n", r"line 1: not valid YAML: could not determine a constructor for the tag '!x'$"),
        (b"campaign: 2026-02-30\n", r"not valid YAML: day is out of range for month; put a text in quotes$"),
        (b"a: !!int x\n", r"not valid YAML: .*; put a text in quotes$"),
        (b"a: !!bool maybe\n", r"not valid YAML: 'maybe'; put a text in quotes$"),
        (b"a: \x01\n", r"not valid YAML: unacceptable character"),
        (b"methods:\n  1: {lr: 1}\n", r"methods: the key 1 is not text; put it in quotes"),
        (b"true: 1\n", r"the key true is not text; put it in quotes"),
        (b"a: [{2024-01-01: 1}]\n", r"a\.\[\]: the key 2024-01-01 is not text"),
        (
            b"methods: {sgd: {lr: 0,1}}\n",
            r"methods\.sgd: the key 1 .*\(a decimal comma\? 0,1 is written 0\.1\)$",
        ),
        (b"methods: {sgd: {optimizer:sgd}}", r"methods\.sgd\.optimizer:sgd: a space must follow the colon$"),
        (b"a: &a {b: *a}\n", r"a\.b\.b…: nested too deeply; does an alias"),
        (b"[" * 1000, r"nested too deeply$"),
        (b"just text\n", r"= 'just text': must be a mapping of keys"),
        (b"- a\n- b\n", r"= \['a', 'b'\]: must be a mapping of keys"),
        (b"", r"empty; must be a mapping of keys, each with its value$"),
        (b"# campaign: demo\n", r"empty; must be a mapping"),
        ("campaign: demo".encode("utf-16"), r"not UTF-8 text; save it"),
        ("campaign: d\xe9mo".encode("latin-1"), r"not UTF-8 text; save it"),
        (None, r"not found; run in the repository's folder or name a file$"),
    ],
)
def test_broken_file_is_named_with_its_line(content: bytes | None, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_campaign([path])
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}:? {expected}", message), message
    assert len(message.splitlines()) == 1


def test_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^[^\n]*: cannot be read \(Is a directory\); give a readable YAML file$"
    ):
        load_campaign([tmp_path])


def test_file_is_yaml_1_2_with_merge_keys(tmp_path: Path) -> None:
    """A file from another system, with a byte order mark and the line ends of Windows."""
    text = """\
campaign: tiny
seeds: [0]
datasets: {yes: {source: digits}}
train:
  epochs: 2
methods:
  on: &sgd {optimizer: sgd, lr: 1e-3}
  off: {<<: *sgd, momentum: 0}
figures:
#  figure1: {kind: dithering, dataset: yes}
execution:
"""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    campaign = load_campaign([path])
    assert list(campaign.datasets) == ["yes"]
    assert campaign.methods == {
        "on": {"optimizer": "sgd", "lr": 0.001},
        "off": {"optimizer": "sgd", "lr": 0.001, "momentum": 0},
    }
    assert campaign.figures == {}
    assert campaign.execution == Execution()


@pytest.fixture
def file(tmp_path: Path, tiny: dict[str, Any]) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny))
    return path


def test_override_changes_one_value(file: Path, tiny: dict[str, Any]) -> None:
    """Dots are for `--set`; Snakemake's --config takes names without any."""
    campaign = load_campaign(
        [file],
        [
            "seeds=[7]",
            "methods.sgd.lr=1e-4",
            "train__batch_size=[16, 32]",
            "execution={threads: 2}",
            "figures=",
        ],
    )
    assert campaign.seeds == (7,)
    assert campaign.methods == {**tiny["methods"], "sgd": {"optimizer": "sgd", "lr": 0.0001}}
    assert campaign.train == {**tiny["train"], "batch_size": [16, 32]}
    assert campaign.execution == Execution(device="cpu", threads=2)
    assert campaign.figures == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("methods.sdg.lr=1", r"methods\.sdg: unknown key; did you mean sgd\? \(known: adam, "),
        ("methods.sgd.lrr=1", r"methods\.sgd\.lrr: unknown key; did you mean lr\? "),
        ("methodes.sgd.lr=1", r"methodes: unknown key; did you mean methods\? "),
        ("train__epoch=1", r"train\.epoch: unknown key; did you mean epochs\? "),
        ("train.epochs.x.y=1", r"train\.epochs\.x: train\.epochs = 3 has no keys$"),
        ("seeds", r"'seeds': must be KEY=VALUE, such as methods\.sgd\.lr=0\.1$"),
        ("methods..lr=1", r"'methods\.\.lr=1': must be KEY=VALUE"),
        ("seeds=[0", r"seeds=\[0: line 1: not valid YAML"),
        ("seeds=3", r"seeds = 3: must be a list; write \[3\]$"),
        ("campaign=", r"campaign: has no value; it must be text$"),
        ("campaign=1e5", r"campaign = 100000\.0: must be text; put it in quotes$"),
    ],
)
def test_bad_override_gets_one_clear_line(text: str, expected: str, file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_campaign([file], [text])
    message = str(caught.value)
    assert re.match(rf"{re.escape(f'{file}, {text}')}: {expected}", message), message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["config.yaml", *sorted(p.name for p in (ROOT / "workflow/presets").glob("*"))]
)
def test_shipped_configurations_load(path: str) -> None:
    """The package reads them, and an editor finds the schema that they name and nothing to complain about."""
    file = ROOT / path if path == "config.yaml" else ROOT / "workflow/presets" / path
    (place,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", file.read_text(), re.MULTILINE)
    jsonschema.validate(read_yaml(file), json.loads((file.parent / place).read_text()))
    assert load_campaign([file]).campaign == ("demo" if path == "config.yaml" else file.stem)
