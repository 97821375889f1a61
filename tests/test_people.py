"""plan and show. status: tests/status."""

from pathlib import Path
from typing import Any

import pytest

from sign_ablate.config import Campaign, parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.grid import expand
from sign_ablate.people import estimate
from sign_ablate.people.plan import plan
from sign_ablate.people.show import NotFoundError, show
from sign_ablate.train import job


@pytest.fixture
def campaign(tiny: dict[str, Any]) -> Campaign:
    tiny["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": 0.05},
        "wild": {"optimizer": "sgd", "lr": 1.0e30},
        "adam": {"optimizer": "adam", "lr": 0.001, "model": "resnet18"},
    }
    tiny["figures"] = {}
    return parse_campaign(tiny)


@pytest.fixture
def results(campaign: Campaign, tmp_path: Path) -> Path:
    """One run of sgd and one of wild done, one of sgd begun."""
    runs = {(run.cell.method, run.config.seed): run for run in expand(campaign)}
    folder = tmp_path / "tiny" / "runs"
    prepare(runs["sgd", 0].config.data, tmp_path / "data")
    for key in (("sgd", 0), ("wild", 0)):
        job.train(runs[key].spec, tmp_path / "data", folder / runs[key].id, device="cpu")
    (folder / runs["sgd", 1].id).mkdir()
    return tmp_path


def test_plan_estimates_from_like_runs_and_says_what_it_cannot(campaign: Campaign, results: Path) -> None:
    text = plan(campaign, results)
    cells = {line.split()[1]: line.split()[2:] for line in text.splitlines()[1:4]}
    assert cells["sgd"][:2] == ["2", "1"]
    assert float(cells["sgd"][2]) > 0
    assert cells["adam"] == ["2", "2", "?", "?"]  # no ResNet-18 was measured
    assert "2 runs have no estimate" in text


def test_plan_for_a_time_counts_whole_seeds_first(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three methods of a minute each, two at a time: seed 0 takes one and a half of two rounds."""
    tiny |= {"figures": {}, "methods": {name: tiny["methods"][name] for name in ("sgd", "adam", "hybrid")}}
    monkeypatch.setattr(estimate, "seconds", lambda *_: 60.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def last(minutes: float) -> str:
        return plan(parse_campaign(tiny), tmp_path, minutes).splitlines()[-1]

    assert last(0.5) == "After 0.5 minutes, 2 at a time: no run done."
    assert last(1) == "After 1 minutes, 2 at a time: 2 of 3 runs with seed 0 done."
    assert last(2) == (
        "After 2 minutes, 2 at a time: every method with seed 0; 1 of 3 runs with seed 1 done."
    )
    assert last(3) == "After 3 minutes, 2 at a time: every method with seeds 0, 1 done."
    monkeypatch.setattr(estimate, "seconds", lambda *_: None)
    assert "6 runs have no estimate" in last(3)


def test_show_tells_a_run(campaign: Campaign, results: Path) -> None:
    text = show("sgd.s0", results)
    assert "state: done" in text
    assert '"momentum": 0.9' in text
    assert "test_acc" in text
    assert "sigma" not in text  # a column that this method has not


@pytest.mark.parametrize(("name", "message"), [("nothing", "no run of that name"), ("tic.sgd", "2 runs of")])
def test_show_needs_one_run(name: str, message: str, campaign: Campaign, results: Path) -> None:
    with pytest.raises(NotFoundError, match=message):
        show(name, results)
