"""Presets that share runs: `gap` compares the two data sets with those of `c10` and `c100`."""

from pathlib import Path

import pytest

from sign_ablate.campaign.cells import templates
from sign_ablate.campaign.grid import expand
from sign_ablate.claims.model import load
from sign_ablate.config import load_campaign
from sign_ablate.config.campaign import Campaign
from sign_ablate.tuning.search import searches
from tests.conftest import ROOT


def preset(name: str, results: Path) -> Campaign:
    """The campaign of a preset, with the second trial of every search as its choice."""
    campaign = load_campaign([ROOT / f"workflow/presets/{name}.yaml"], results=results)
    tuned: dict[str, dict[str, dict[str, float]]] = {}
    for search in searches(campaign):
        tuned.setdefault(search.dataset, {})[search.label] = search.values()[1]
    return campaign.model_copy(update={"tuned": tuned})


def labels(name: str) -> set[str]:
    """Labels of a preset's cells."""
    return {template.label for template in templates(load_campaign([ROOT / f"workflow/presets/{name}.yaml"]))}


def test_gap_trains_nothing_that_c10_and_c100_do_not(tmp_path: Path) -> None:
    gap, *others = (preset(name, tmp_path) for name in ("gap", "c10", "c100"))
    assert len(expand(gap)) == 32
    assert {run.id for run in expand(gap)} <= {run.id for other in others for run in expand(other)}
    hashes = {search.hash for other in others for search in searches(other)}
    assert {search.hash for search in searches(gap)} <= hashes  # so the choices are the same, too


def test_labels_of_the_verdicts_presets_are_those_of_claims() -> None:
    of_arms = {label for arm in load().arms.values() for reading in arm.values() for label in reading}
    for name in ("c10", "c100", "gap", "verdict-resnet18", "verdict-resnet18-cifar100", "steps"):
        assert labels(name) - of_arms <= {"lion", "ef-signsgd"}, name  # for comparison alone


@pytest.mark.parametrize("name", ["c10", "verdict-resnet18"])
def test_every_arm_of_one_worker_has_all_readings(name: str) -> None:
    known = labels(name) | labels("workers")
    if name == "c10":  # without these, the literal reading can support their claims, but not refute them
        known |= {"constant-dither-heavy", "dithered-hybrid-heavy"}
    for arm, readings in load().arms.items():
        for reading, candidates in readings.items():
            assert known.intersection(candidates), (arm, reading)


@pytest.mark.parametrize("name", ["c100", "verdict-resnet18", "verdict-resnet18-cifar100"])
def test_the_number_of_runs_in_the_header_is_right(name: str, tmp_path: Path) -> None:
    campaign = preset(name, tmp_path)
    trials = sum(search.tuning.trials for search in searches(campaign))
    text = (ROOT / f"workflow/presets/{name}.yaml").read_text()
    assert f"# {trials} trials and {len(expand(campaign))} runs of {campaign.train['epochs']} epochs" in text
