"""Errors and warnings, before any job, for values that do not fit the data, the figures or the machine."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sign_ablate import models
from sign_ablate.campaign import preflight
from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.preflight import IMAGE_SIZES, warnings
from sign_ablate.cli.campaigns import plan
from sign_ablate.config import ConfigError, load_campaign, parse_campaign
from sign_ablate.jobs import device
from sign_ablate.optim.sign_step import native
from tests.conftest import ROOT
from tests.test_config import merged

#: change of the tiny campaign (96 images of 8×8, batches of 32) → its error, and the largest valid value
TOO_MUCH: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "workers": (
        {"train": {"batch_size": 128, "workers": 97}},
        r"train\.workers = 97: more than the 96 training images of synthetic$",
        {"train": {"batch_size": 128, "workers": 96}},
    ),
    "crop without an image": (
        {"train": {"crop_padding": 8}},
        r"train\.crop_padding = 8: some crops would show nothing of the 8×8 images of synthetic; allowed: ",
        {"train": {"crop_padding": 7}},
    ),
    "crop of one method": (
        {"methods": {"sgd": {"crop_padding": 9}}},
        r"methods\.sgd\.crop_padding = 9: some crops",
        {"methods": {"sgd": {"crop_padding": 7}}},
    ),
    "warm-up to the end": (
        {"methods": {"sgd": {"steps": 6, "warmup_epochs": 2}}},
        r"methods\.sgd\.warmup_epochs = 2: comes after the end; the run on synthetic has 6 steps, 3 in each",
        {"methods": {"sgd": {"steps": 7, "warmup_epochs": 2}}},
    ),
    "milestone at the end": (
        {"methods": {"sgd": {"steps": 6, "schedule": "multistep", "milestones": [1, 2]}}},
        r"methods\.sgd\.milestones = 2: comes after the end",
        {"methods": {"sgd": {"steps": 7, "schedule": "multistep", "milestones": [1, 2]}}},
    ),
    "switch at the end": (
        {"methods": {"hybrid": {"steps": 3}}},
        r"methods\.hybrid\.t_switch = 1: comes after the end; the run on synthetic has 3 steps",
        {"methods": {"hybrid": {"steps": 4}}},
    ),
    "compression at the end": (
        {"methods": {"new": {"optimizer": "onebit-adam", "lr": 0.1, "warmup_steps": 9}}},
        r"methods\.new\.warmup_steps = 9: the compression never begins; the run on synthetic has 9 steps",
        {"methods": {"new": {"optimizer": "onebit-adam", "lr": 0.1, "warmup_steps": 8}}},
    ),
    "image too small for the model": (
        {"datasets": {"synthetic": {"image_size": 2}}},
        r"train\.model = 'small': takes images of at least 3×3; those of synthetic have 2×2",
        {"datasets": {"synthetic": {"image_size": 3}}},
    ),
    "batch of one image": (
        {"datasets": {"synthetic": {"image_size": 6, "train_images": 97}}},
        r"train\.batch_size = 32: leaves a batch of one of the 97 training images of synthetic, and",
        {"datasets": {"synthetic": {"image_size": 7, "train_images": 97}}},
    ),
    "more validation images than there are": (
        {"datasets": {"synthetic": {"val": 93}}},
        r"datasets\.synthetic\.val = 93: of the 96 training images, at most 92 can be held out",
        {"datasets": {"synthetic": {"val": 60}}},
    ),
    "larger subset than there is": (
        {"datasets": {"synthetic": {"subset": 97}}},
        r"datasets\.synthetic\.subset = 97: at most 96 of the 96 training images can be taken in equal",
        {"datasets": {"synthetic": {"subset": 96}}},
    ),
    "images beyond any use": (
        {"datasets": {"synthetic": {"image_size": 100_000}}},
        r"datasets\.synthetic\.image_size = 100000: must be less than or equal to 1024",
        {"datasets": {"synthetic": {"image_size": 1024}}},
    ),
    "batches of one image": (
        {"methods": {"adam": {"batch_size": 1}}, "datasets": {"synthetic": {"image_size": 6}}},
        r"methods\.adam\.batch_size = 1: leaves a batch of one of the 96",
        {"methods": {"adam": {"batch_size": 2}}, "datasets": {"synthetic": {"image_size": 6}}},
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_does_not_fit_the_data_is_one_line(name: str, file: Path, tiny: dict[str, Any]) -> None:
    change, expected, allowed = TOO_MUCH[name]
    file.write_text(json.dumps(merged(tiny, change)))
    with pytest.raises(ConfigError) as caught:
        load_campaign([file])
    message = str(caught.value)
    assert re.match(rf"{re.escape(str(file))}: {expected}", message), message
    assert len(message.splitlines()) == 1
    file.write_text(json.dumps(merged(tiny, allowed)))
    load_campaign([file])


def test_last_batch_that_a_run_never_reaches_may_be_small(file: Path, tiny: dict[str, Any]) -> None:
    tiny["datasets"]["synthetic"] |= {"image_size": 6, "train_images": 97}
    tiny["train"] = {"steps": 3, "batch_size": 32}
    tiny["methods"] = {"sgd": {"optimizer": "sgd", "lr": 0.1}}
    tiny["figures"] = {}
    file.write_text(json.dumps(tiny))
    load_campaign([file])
    tiny["train"]["steps"] = 4
    file.write_text(json.dumps(tiny))
    with pytest.raises(ConfigError, match="leaves a batch of one"):
        load_campaign([file])


def test_data_that_are_not_there_are_not_checked(
    file: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "shape_of", lambda spec: None)
    tiny["train"] |= {"batch_size": 10**6, "crop_padding": 100}
    file.write_text(json.dumps(tiny))
    assert _warnings(load_campaign([file])) == []


@pytest.mark.parametrize("name", IMAGE_SIZES)
def test_image_sizes_are_those_of_the_models(name: str) -> None:
    smallest, one_pixel = IMAGE_SIZES[name]
    network = models.build(name, 3, 4, seed=0).train()

    def takes(images: int, size: int) -> bool:
        try:
            network(torch.zeros(images, 3, size, size))
        except (RuntimeError, ValueError):
            return False
        return True

    assert [takes(2, smallest - 1), takes(2, smallest)] == [False, True]
    assert [takes(1, one_pixel), takes(1, one_pixel + 1)] == [False, True]


@pytest.mark.parametrize(("kind", "values"), [("workers", "[1, 4, 16]"), ("adversaries", "[0.25, 0.4]")])
def test_figure_of_workers_needs_an_axis(tiny: dict[str, Any], kind: str, values: str) -> None:
    tiny["figures"] = {"figure1": {"kind": kind, "dataset": "synthetic"}}
    with pytest.raises(ConfigError) as caught:
        parse_campaign(tiny)
    assert str(caught.value) == (
        f"figures.figure1: kind: {kind} needs a method with several values, such as {kind}: {values}"
    )
    tiny["methods"]["sgd"] |= {"workers": [16, 32], "adversaries": [0.25, 0.4]}
    parse_campaign(tiny)
    cells = ["sgd workers=16 adversaries=0.25", "sgd workers=32 adversaries=0.4"]  # both differ
    tiny["figures"]["figure1"]["cells"] = cells
    with pytest.raises(ConfigError, match="needs a method with several values"):
        parse_campaign(tiny)
    tiny["figures"]["figure1"]["cells"] = [*cells, "sgd workers=16 adversaries=0.4"]
    parse_campaign(tiny)


def test_figure_needs_a_method_to_draw(tiny: dict[str, Any]) -> None:
    tiny["methods"] = {label: tiny["methods"][label] for label in ("signsgd", "hybrid")}
    with pytest.raises(ConfigError) as caught:
        parse_campaign(tiny)
    assert str(caught.value) == (
        "figures.figure1: kind: dithering has no method to draw; remove the figure or add a method"
    )


#: change of the tiny campaign → its one warning
UNLIKELY: dict[str, tuple[dict[str, Any], str]] = {
    "batch of all images": (
        {"train": {"batch_size": 97}},
        "train.batch_size = 97: every step takes all 96 training images of synthetic",
    ),
    "one method's batch of all images": (
        {"methods": {"sgd": {"batch_size": [32, 128]}}},
        "methods.sgd.batch_size = 128: every step takes all 96 training images of synthetic",
    ),
    "dithering without dither": (
        {"methods": {"pre-dither": None, "post-dither": None}},
        "figures.figure1: kind: dithering, but the campaign has no dithered method",
    ),
    "switching without a switch": (
        {
            "methods": {"hybrid": None, "dithered-hybrid": None, "naive-switch": None},
            "figures": {"figure2": {"t_switch": None}},
        },
        "figures.figure2: kind: switching, but the campaign has no hybrid",
    ),
    "shares of adversaries that are one number of them": (
        {"methods": {"sgd": {"workers": [4, 16], "adversaries": [0.2, 0.25]}}},
        "methods.sgd.adversaries: 0.2 and 0.25 are both 1 of 4 workers",
    ),
    "more threads than cores": (
        {"execution": {"threads": 5}},
        "execution.threads = 5: this machine has 4 cores; more threads than cores are many times slower",
    ),
    "more ranks than cores": (
        {"execution": {"max_ranks": 8}, "train": {"workers": 5}},
        "execution.max_ranks = 8: a run of 5 workers starts 5 processes (5 threads), and this machine has 4 "
        "cores; one process for all is faster (max_ranks: 1)",
    ),
    "bfloat16 without hardware": (
        {"train": {"precision": "bfloat16"}},
        "train.precision = 'bfloat16': emulated on this CPU, and much slower than float32",
    ),
}


def _warnings(campaign: Any, **options: bool) -> list[str]:
    return warnings(campaign, expand(campaign), **options)


@pytest.fixture
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 4)
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: False)


@pytest.mark.usefixtures("_machine")
def test_missing_c_compiler_is_told_before_any_job(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = parse_campaign(tiny)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native, "_cache_folder", lambda: tmp_path)
    (line,) = _warnings(campaign)
    assert line.startswith(
        "no C compiler is found (CC, cc, gcc, clang): sign-based methods take the plain step"
    )
    assert _warnings(campaign, local=False) == []
    native._path().touch()  # compiled before
    assert _warnings(campaign) == []
    on_gpu = parse_campaign({**tiny, "execution": {**tiny.get("execution", {}), "device": "cuda"}})
    assert any("take the foreach step unless Triton" in line for line in _warnings(on_gpu))
    native._path().unlink()
    tiny["methods"] = {"sgd": tiny["methods"]["sgd"], "adam": tiny["methods"]["adam"]}
    assert _warnings(parse_campaign({**tiny, "figures": {}})) == []


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize("name", UNLIKELY)
def test_what_is_likely_a_mistake_is_a_warning(name: str, tiny: dict[str, Any]) -> None:
    assert _warnings(parse_campaign(tiny)) == []
    change, expected = UNLIKELY[name]
    merged(tiny, change)
    tiny["methods"] = {label: values for label, values in tiny["methods"].items() if values}
    campaign = parse_campaign(tiny)
    assert _warnings(campaign) == [expected]
    about_machine = "this machine" in expected or "bfloat16" in expected
    assert _warnings(campaign, local=False) == ([] if about_machine else [expected])


def test_more_ranks_than_gpus_are_told_before_any_job(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "gpu_count", lambda: 2)
    tiny["train"]["workers"] = 4
    tiny["execution"] = {"device": "cuda", "max_ranks": 4}
    (line,) = _warnings(parse_campaign(tiny))
    assert line.startswith("execution.max_ranks = 4: a run of 4 workers needs 4 GPUs and fails here, where")
    tiny["execution"]["max_ranks"] = 2
    assert _warnings(parse_campaign(tiny)) == []
    monkeypatch.setattr(device, "gpu_count", lambda: 0)  # the job says that there is none, not this line
    assert _warnings(parse_campaign(tiny)) == []


@pytest.mark.usefixtures("_machine")
def test_as_many_threads_as_cores_are_no_mistake(tiny: dict[str, Any]) -> None:
    tiny["execution"]["threads"] = 4
    tiny["train"]["batch_size"] = 96
    assert _warnings(parse_campaign(tiny)) == []


def test_cores_are_those_that_the_process_may_use() -> None:
    code = (
        "import os; from sign_ablate.jobs import device; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "print(device.cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.slow
def test_plan_and_status_warn_and_go_on(file: Path, tiny: dict[str, Any]) -> None:
    tiny["train"]["batch_size"] = 100
    file.write_text(json.dumps(tiny))
    for command in ("plan", "status"):
        call = [sys.executable, "-m", "sign_ablate", command, "--config", str(file), "--set", "seeds=[0]"]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "10 runs" in done.stdout
        warning = "train.batch_size = 100: every step takes all 96 training images of synthetic"
        assert done.stderr.splitlines() == [f"sign-ablate: warning: {warning}"]


@pytest.mark.usefixtures("_machine")
def test_plan_for_a_cluster_does_not_warn_of_this_machine(
    file: Path, tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(json.dumps({**tiny, "execution": {"threads": 5}}))
    for profile, warned in ((None, True), (ROOT / "profiles/slurm", False)):
        plan([file], [], tmp_path, profile=profile)
        assert ("this machine has 4 cores" in capsys.readouterr().err) is warned


def test_plan_for_less_than_no_time_is_refused() -> None:
    call = [sys.executable, "-m", "sign_ablate", "plan", "--minutes", "-5"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--minutes" in done.stderr
    assert "Traceback" not in done.stderr
