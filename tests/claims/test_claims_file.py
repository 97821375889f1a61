"""claims.yaml: what it says is about arms that presets have, and the line that each mistake gets."""

import itertools
from pathlib import Path

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.claims.model import load, parse
from sign_ablate.claims.quantities import Theory
from sign_ablate.config import ConfigError, load_campaign
from sign_ablate.repository import claims_file
from sign_ablate.theory.statements import STATEMENTS
from tests.conftest import ROOT

TEXT = (ROOT / "claims.yaml").read_text(encoding="utf-8")


#: text → its replacement and the beginning of the first line of the error
MISTAKES = {
    "arm: pre-0.5, over": (
        "arm: pre-0.55, over",
        "claims.dither-half-helps.test: arm 'pre-0.55': unknown; did you mean pre-0.5?",
    ),
    "quantity: snr_low": (
        "quantity: snr_lo",
        "claims.correct-snr.test.quantity = 'snr_lo': must be one of batches, snr, snr_low, ",
    ),
    "margin: near}": (
        "margin: nearr}",
        "claims.dither-near-sgd.test.margin = 'nearr': unknown; did you mean near?",
    ),
    "model: resnet18": ("model: resnet81", "settings.cifar10.model = 'resnet81': must be 'small', "),
    "scope: proxy": ("scope: proxi", "claims.control-rate-drop.scope = 'proxi': must be 'mathematics'"),
    "comparison: gap": (
        "comparison: gaap",
        "claims.gap-grows.test.comparison = 'gaap': unknown; did you mean gap?",
    ),
    "over: adam, ": ("", "claims.dither-adam.test.over: required, but missing"),
    "arm: pre-0.1, over: adam": (
        "arm: pre-0.1, under: sgd, over: adam",
        "claims.dither-adam.test.under: unknown key",
    ),
    "share: 0.875": ("share: 2", "claims.switch-first-passage.test.share = 2: must be less than 1"),
    "title: The hand-off to SGD": (f"title: {'word ' * 12}", "claims.switch-smooth.title = "),
    "literal: [constant-dither]": (
        "litteral: [constant-dither]",
        "arms.constant-dither.litteral: unknown reading; did you mean literal?",
    ),
    "roughness: {other: 0.5}": (
        "roughness: {cifar10: 0.5}",
        "margins.roughness.other: required, but missing",
    ),
    "hand-off: {other: 1}": ("hand-off: {other: 0}", "margins.hand-off.other = 0: must be greater than 0"),
    "hand-off: {other": (
        "hand-off: {cifar1: 2, other",
        "margins.hand-off.cifar1: unknown source; did you mean cifar10? (known: ",
    ),
    "over: preset-hybrid": (
        "over: hybrid",
        "claims.control-tuned-hybrid.test: arm 'hybrid' stands twice in a difference; compare different arms",
    ),
    "reference: [mean-4, mean-64]": (
        "reference: [mean-4, mean-4]",
        "claims.control-vote-estimate.test: arm 'mean-4' stands twice in a difference",
    ),
    "order: [post-0.01, ": (
        "order: [post-0.5, ",
        "claims.post-degrades.test: arm 'post-0.5' stands twice in a difference",
    ),
    "floor: alone, ceiling": (
        "floor: sign-of-mean-64, ceiling",
        "claims.control-vote-alone.test: arm 'sign-of-mean-64' stands twice in a difference",
    ),
    "scope: paper\n    data: cifar10\n    specific: true\n    test: {comparison: value": (
        "scope: proxy\n    test: {comparison: value",
        "claims.table-cifar10-sgd.scope = 'proxy': must be 'paper', as the number in its test is",
    ),
}


@pytest.mark.parametrize("old", MISTAKES)
def test_mistake_is_one_line(old: str) -> None:
    new, line = MISTAKES[old]
    assert old in TEXT
    with pytest.raises(ConfigError) as error:
        parse(TEXT.replace(old, new, 1))
    assert str(error.value).splitlines()[0].startswith(line)


def test_arms_without_a_common_reading() -> None:
    before = "dithered-hybrid: {literal: [dithered-hybrid], heavy-ball: [dithered-hybrid-heavy]}"
    changed = TEXT.replace(before, "dithered-hybrid: {relative: [dithered-hybrid]}", 1)
    changed = changed.replace("first: hybrid, second: pre-0.1", "first: hybrid, second: pre-0.5", 1)
    with pytest.raises(
        ConfigError, match=r"claims.dither-and-switch.test: its arms have no reading in common"
    ):
        parse(changed)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: not found"):
        load(tmp_path / "none.yaml")


def test_every_arm_is_in_a_preset() -> None:
    presets = [ROOT / "config.yaml", *sorted((ROOT / "workflow/presets").glob("*.yaml"))]
    labels = {run.cell.label for path in presets for run in expand(load_campaign([path]), placeholders=True)}
    arms = load().arms.items()
    absent = {name for name, readings in arms if labels.isdisjoint(itertools.chain(*readings.values()))}
    assert not absent


def test_every_result_of_the_theory_lab_exists() -> None:
    tests = [claim.test for claim in load().claims.values() if isinstance(claim.test, Theory)]
    results = {result for test in tests for result in (*test.results, *test.readings.values())}
    assert results <= STATEMENTS.keys()


def test_claims_on_other_work_and_on_other_data_are_not_the_papers() -> None:
    """The paper states no accuracy of a vote, does not cite arXiv 1810.05291, and dithers on CIFAR-100."""
    claims = load().claims
    assert {name for name, claim in claims.items() if "1810.05291" in claim.place and not claim.ours} == set()
    assert claims["vote-two-phase"].ours
    dithered = {name for name, claim in claims.items() if claim.place.startswith("Sec. I, second")}
    assert {claims[name].data for name in dithered} == {"cifar100"}


def test_claims_of_the_working_directory_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert claims_file() == ROOT / "claims.yaml"
    (tmp_path / "claims.yaml").write_text(TEXT.replace("hand-off: {other: 1}", "hand-off: {other: 7}"))
    assert load().margins["hand-off"]["other"] == 7
