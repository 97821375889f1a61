"""The design of the search, its trials, the choice among them, and the file of the choices."""

import copy
import itertools
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sign_ablate.campaign.grid import Run, expand, left_out
from sign_ablate.campaign.identity import campaign_spec
from sign_ablate.config import ConfigError, load_campaign, parse_campaign
from sign_ablate.config.campaign import Campaign
from sign_ablate.config.tuning import DIMENSIONS
from sign_ablate.jobs.preparation import prepare
from sign_ablate.jobs.training import train
from sign_ablate.store import layout, reading
from sign_ablate.tuning import choice as choices
from sign_ablate.tuning.choice import choose, expected_best, with_choices
from sign_ablate.tuning.design import points
from sign_ablate.tuning.search import all_runs, pending, runs_of_stage, searches
from tests.conftest import write_outcome

TUNED: dict[str, Any] = {
    "campaign": "tuned",
    "seeds": [0, 1],
    "datasets": {"toy": {"source": "synthetic", "train_images": 96, "test_images": 64}},
    "train": {"model": "small", "epochs": 2, "batch_size": 32},
    "methods": {
        "sgd": {"optimizer": "sgd"},
        "pre": {"optimizer": "dithered", "site": "pre", "alpha": [0.01, 0.1]},
        "post": {"optimizer": "dithered", "site": "post", "alpha": 0.1, "tuned_as": "pre alpha=0.1"},
        "preset": {"optimizer": "sgd", "lr": 0.1},
    },
    "tuning": {
        "trials": 2,
        "val": 32,
        "spaces": {"sgd": {"lr": [0.01, 1], "weight_decay": [1e-5, 1e-2]}, "pre": {"lr": [1e-4, 1e-2]}},
    },
}
CELLS = ["sgd", "pre alpha=0.01", "pre alpha=0.1"]


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(TUNED)


def result(run: Run, results: Path) -> None:
    """Train a run and write its files."""
    data = layout.data_file(results, run.data_id)
    if not data.exists():
        prepare(run.config.data, data)
    train(run.spec, data, layout.run_folder(results, run.id), device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder with the trials of TUNED."""
    results = tmp_path_factory.mktemp("trained")
    for run in runs_of_stage(parse_campaign(TUNED)):
        result(run, results)
    return results


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """The results folder with the trials, without choices."""
    (tmp_path / "runs").symlink_to(trained / "runs")
    return tmp_path


SPACE = {"a": (1e-3, 1.0), "b": (1.0, 100.0), "c": (1e-2, 1e-1), "d": (1.0, 10.0)}


def test_fewer_trials_are_the_first_of_more() -> None:
    assert points(SPACE, 32)[:16] == points(SPACE, 16)
    assert points(SPACE, 16)[:12] == points(SPACE, 12)


def test_methods_share_points_and_an_added_key_moves_nothing() -> None:
    both, one = points({"lr": (0.01, 1.0), "weight_decay": (0.1, 1.0)}, 8), points({"lr": (0.01, 1.0)}, 8)
    assert [point["lr"] for point in both] == [point["lr"] for point in one]
    tenfold = points({"rate": (0.1, 10.0)}, 8)
    assert [p["rate"] for p in tenfold] == pytest.approx([10 * p["lr"] for p in one])


def test_points_fill_every_sixteenth_of_each_range_once() -> None:
    for key, (low, high) in SPACE.items():
        u = [math.log(point[key] / low) / math.log(high / low) for point in points(SPACE, 16)]
        assert np.all(np.abs(np.sort(u) * 16 - np.arange(16) - 0.5) < 0.5 + 0.05)  # values are rounded
    assert len(SPACE) == DIMENSIONS


def test_rounding_does_not_leave_the_range() -> None:
    low, high = 0.9001, 0.9999  # three digits of the ends are 0.9 and 1
    assert all(low <= point["beta"] <= high for point in points({"beta": (low, high)}, 1024))


def test_points_have_three_digits() -> None:
    assert all(float(f"{v:.3g}") == v for point in points(SPACE, 16) for v in point.values())


def test_trials_hold_images_out_and_have_a_seed_of_their_own(config: dict[str, Any]) -> None:
    campaign = parse_campaign(config)
    found = [run for search in searches(campaign) for run in search.runs()]
    assert [search.label for search in searches(campaign)] == CELLS
    assert {run.config.seed for run in found} == {1000}
    assert {run.config.data.val for run in found} == {32}
    assert {run.config.evaluate for run in found} == {"val"}
    assert len({run.id for run in found}) == 6


def test_probes_are_no_part_of_a_search(config: dict[str, Any]) -> None:
    before = searches(parse_campaign(config))[0]
    config["train"]["probe"] = [0, 2]
    after = searches(parse_campaign(config))[0]
    assert after.hash == before.hash
    assert [run.id for run in after.runs()] == [run.id for run in before.runs()]


def test_stage_one_is_the_trials_and_stage_two_the_evaluation(config: dict[str, Any], results: Path) -> None:
    campaign = parse_campaign(config)
    assert [run.cell.label for run in expand(campaign)] == ["preset", "preset"]
    assert {run.trial for run in runs_of_stage(campaign)} == {0, 1}
    choose(campaign, results)
    chosen = with_choices(campaign, results)
    assert not pending(chosen)
    assert [run.trial for run in runs_of_stage(chosen)] == [None] * 10
    assert len(all_runs(chosen)) == 16
    lr = {run.cell.label: run.config.method.lr for run in expand(chosen)}
    assert lr["post"] == lr["pre alpha=0.1"]


def test_trials_do_not_see_the_test_images(results: Path) -> None:
    run = runs_of_stage(parse_campaign(TUNED))[0]
    table = reading.metrics(layout.run_folder(results, run.id))
    assert table["test_acc"].null_count == table["test_loss"].null_count == table.num_rows == 2
    assert table["val_acc"].null_count == 0


def test_choice_is_the_best_trial_on_validation_images(config: dict[str, Any], results: Path) -> None:
    campaign = parse_campaign(config)
    found = choices.read(choose(campaign, results))["toy"]
    assert list(found) == CELLS
    for search in searches(campaign):
        scores = [
            reading.last(reading.metrics(layout.run_folder(results, run.id)), "val_acc")
            for run in search.runs()
        ]
        choice = found[search.label]
        assert choice.val_acc == max(scores)
        assert choice.values == search.values()[scores.index(max(scores))]
        assert [trial.val_acc for trial in choice.trials] == scores


def test_a_second_choice_leaves_the_file_alone(config: dict[str, Any], results: Path) -> None:
    path = choose(parse_campaign(config), results)
    before = path.stat().st_mtime_ns
    choose(with_choices(parse_campaign(config), results), results)
    choose(parse_campaign(config), results)
    assert path.stat().st_mtime_ns == before


def test_choices_of_two_campaigns_at_a_time_are_all_kept(
    config: dict[str, Any], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two campaigns with one `tuning.file`: the second chooses after the first has read the file."""
    campaign = parse_campaign(config)
    path = choices.file_of(campaign, results)
    path.unlink(missing_ok=True)
    first, second = (
        campaign.model_copy(update={"tuned": {"toy": dict.fromkeys(known)}})
        for known in (CELLS[:1], CELLS[1:])
    )
    threads: list[threading.Thread] = []
    read = choices.read

    def read_and_let_the_other_start(file: Path) -> choices.Choices:
        found = read(file)
        if not threads:
            threads.append(threading.Thread(target=choose, args=(second, results)))
            threads[0].start()
            threads[0].join(0.3)
        return found

    monkeypatch.setattr(choices, "read", read_and_let_the_other_start)
    choose(first, results)
    threads[0].join()
    assert sorted(read(path)["toy"]) == sorted(CELLS)
    assert [file.name for file in path.parent.glob(".*")] == []


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda c: c["tuning"]["spaces"]["sgd"].update(lr=[0.001, 1]), ["sgd"]),
        (lambda c: c["tuning"]["spaces"]["pre"].update(weight_decay=[0.1, 1]), CELLS[1:]),
        (lambda c: c["tuning"].update(trials=3), CELLS),
        (lambda c: c["tuning"].update(seed=7), CELLS),
        (lambda c: c["tuning"].update(val=16), CELLS),
        (lambda c: c["train"].update(epochs=3), CELLS),
        (lambda c: c["methods"]["sgd"].update(momentum=0.5), ["sgd"]),
        (lambda c: c["methods"]["pre"].update(alpha=[0.1, 0.5]), ["pre alpha=0.5"]),
        (lambda c: c.update(seeds=[5, 6, 7]), []),
        (lambda c: c["methods"]["sgd"].update(momentum=0.9), []),  # the default
        (lambda c: c["methods"]["preset"].update(lr=0.2), []),
        (lambda c: c["methods"]["post"].update(alpha=0.2), []),
    ],
)  # fmt: skip
def test_choices_of_another_search_are_stale(
    config: dict[str, Any], results: Path, change: Any, stale: list[str]
) -> None:
    choose(parse_campaign(config), results)
    change(config)
    assert [search.label for search in pending(with_choices(parse_campaign(config), results))] == stale


def test_widening_a_space_keeps_the_other_choices(config: dict[str, Any], results: Path) -> None:
    first = choices.read(choose(parse_campaign(config), results))["toy"]
    config["tuning"]["spaces"]["sgd"]["lr"] = [0.001, 1]
    wide = with_choices(parse_campaign(config), results)
    for run in runs_of_stage(wide):
        result(run, results)
    second = choices.read(choose(wide, results))["toy"]
    assert second["sgd"].search != first["sgd"].search
    assert {label: second[label] for label in CELLS[1:]} == {label: first[label] for label in CELLS[1:]}


def test_a_campaign_in_a_table_does_not_depend_on_the_search(config: dict[str, Any], results: Path) -> None:
    campaign = parse_campaign(config)
    choose(campaign, results)
    chosen = with_choices(campaign, results)
    spec = campaign_spec(chosen)
    assert "spaces" not in spec
    assert [run.id for run in expand(parse_campaign(json.loads(spec)))] == [run.id for run in expand(chosen)]
    unfinished = parse_campaign(json.loads(campaign_spec(campaign, tuning=True)))
    assert [search.hash for search in pending(unfinished)] == [search.hash for search in searches(campaign)]


def test_choice_at_the_edge_is_named(config: dict[str, Any]) -> None:
    search = searches(parse_campaign(config))[0]
    assert choices.edges(search.template, {"lr": 0.1, "weight_decay": 1e-3}) == ()
    assert choices.edges(search.template, {"lr": 0.8, "weight_decay": 8e-3}) == ("lr", "weight_decay")
    near_zero = {"lr": 0.012, "weight_decay": 1.1e-5}  # the default of weight_decay is 0
    assert choices.edges(search.template, near_zero) == ("lr",)


def test_expected_best_of_all_subsets() -> None:
    scores = [0.3, 0.9, 0.5, None, 0.7]
    for budget in range(1, 6):
        subsets = itertools.combinations([score or 0.0 for score in scores], budget)
        assert expected_best(scores, budget) == pytest.approx(np.mean([max(s) for s in subsets]))


def test_middle_of_a_range_may_equal_a_value_of_another_method(config: dict[str, Any]) -> None:
    config["methods"]["preset"]["weight_decay"] = math.sqrt(1e-5 * 1e-2)
    assert "preset" in {run.cell.label for run in expand(parse_campaign(config), placeholders=True)}
    config["methods"] |= {"same": {"optimizer": "sgd", "tuned_as": "sgd"}}
    with pytest.raises(ConfigError, match="'same' on toy, seed 0, is the same as 'sgd' on toy"):
        parse_campaign(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["tuning"].update(seed=1), r"tuning.seed = 1: is one of seeds; trials need a seed"),
        (lambda c: c["tuning"]["spaces"].update(sdg={"lr": [1, 2]}), r"spaces.sdg: unknown; did you mean"),
        (
            lambda c: c["tuning"]["spaces"]["sgd"].update(lrr=[1, 2]),
            r"tuning.spaces.sgd.lrr: unknown key; did you mean lr\?",
        ),
        (lambda c: c["tuning"]["spaces"]["sgd"].update(lr=[1, 0.1]), r"low < high"),
        (lambda c: c["tuning"]["spaces"]["sgd"].update(lr=[0, 0.1]), r"0 < low"),
        (lambda c: c["tuning"]["spaces"]["sgd"].update(lr=["a", 1]), r"tuning.spaces.sgd.lr"),
        (
            lambda c: c["tuning"]["spaces"]["sgd"].update(epochs=[1, 9]),
            r"epochs = .*: only real numbers can be searched; a list in methods.sgd.epochs makes a cell",
        ),
        (
            lambda c: c["tuning"]["spaces"]["sgd"].update(nesterov=[False, True]),
            r"tuning.spaces.sgd.nesterov = \[False, True\]: must be \[low, high\], two numbers",
        ),
        (
            lambda c: c["tuning"]["spaces"].update(pre={key: [1, 2] for key in "abcde"}),
            r"tuning.spaces.pre = .*: must have at most 4 entries$",
        ),
        (
            lambda c: c["tuning"]["spaces"].update(pre={"lr": [0.1, 0.1001]}),
            r"tuning.spaces.pre: 1 of 2 trials differ, since values have three significant digits; widen",
        ),
        (lambda c: c["methods"]["sgd"].update(lr=0.1), r"methods.sgd.lr = 0.1: tuning.spaces.sgd.lr sea"),
        (lambda c: c["methods"]["post"].update(tuned_as="pre"), r"methods.post.tuned_as = 'pre': no tuned"),
        (lambda c: c["methods"]["post"].update(tuned_as="preset"), r"tuned_as = 'preset': no tuned cell"),
        (
            lambda c: (
                c["tuning"]["spaces"]["sgd"].update(momentum=[0.5, 0.99]),
                c["methods"].update(lion={"optimizer": "lion", "tuned_as": "sgd"}),
            ),
            r"methods.lion.tuned_as = 'sgd': its momentum is tuned, which optimizer lion does not take;",
        ),
        (lambda c: c["methods"]["sgd"].update(tuned_as="pre alpha=0.1"), r"tuning.spaces.sgd exists, too"),
        (lambda c: c["methods"]["post"].update(tuned_as=3), r"must be the label of a cell"),
        (lambda c: c["tuning"].update(val=96), r"tuning.val = 96.*can be held out"),
        (lambda c: c["tuning"].update(trials=1), r"tuning.trials = 1"),
        (
            lambda c: c["tuning"]["spaces"]["sgd"].update(momentum=[0.5, 2]),
            r"tuning.spaces.sgd.momentum = \[0.5, 2.0\]: 2 must be less than 1$",
        ),
        (
            lambda c: c["tuning"]["spaces"]["sgd"].update(lr=[1e-33, 1]),
            r"tuning.spaces.sgd.lr = \[1e-33, 1.0\]: 1e-33 out of range; must be between",
        ),
        (
            lambda c: c["methods"]["post"].update(lr=0.1),
            r"methods.post.lr = 0.1: tuned_as takes it from 'pre alpha=0.1'; remove one",
        ),
        (
            lambda c: c["methods"]["pre"].update(tuned_as="pre alpha=0.1"),
            r"methods.pre.tuned_as = 'pre alpha=0.1': a cell of the method itself; name one of another",
        ),
        (lambda c: c.update(tuned={}), r"tuned: read from tuning.file"),
        (lambda c: c["methods"].update(x={"optimizer": "sgd"}), r"methods.x.lr: required, but missing"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(config: dict[str, Any], tmp_path: Path, change: Any, message: str) -> None:
    change(config)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message) as caught:
        load_campaign([path])
    assert len(str(caught.value).splitlines()) == 1


def test_choices_in_use_are_those_of_the_campaign(config: dict[str, Any], results: Path) -> None:
    """The file keeps those of cells that the campaign no longer has, or whose values are fixed now."""
    path = choose(parse_campaign(config), results)
    of_all = with_choices(parse_campaign(config), results)
    assert list(choices.evaluated(path, of_all)["toy"]) == CELLS
    for method in ({"sgd": {"optimizer": "sgd", "lr": 0.2}}, {}):
        del config["methods"]["sgd"]
        config["methods"] |= method
        config["tuning"]["spaces"].pop("sgd", None)
        fewer = with_choices(parse_campaign(config), results)
        assert list(choices.evaluated(path, fewer)["toy"]) == CELLS[1:]
        config["methods"].setdefault("sgd", {})
    assert choices.evaluated(results / "none.json", of_all) == {"toy": {}}


def test_damaged_file_of_choices_is_named(config: dict[str, Any], results: Path) -> None:
    path = choose(parse_campaign(config), results)
    text = path.read_text()
    for content, problem in (
        (text[:-200], "EOF while parsing"),
        ("[]", r"\[\]: must be a mapping of keys"),
        (text.replace('"val_acc"', '"acc"', 1), r"toy\.sgd\.\S*acc: "),
    ):
        path.write_text(content)
        with pytest.raises(
            ConfigError, match=rf"tuned.json: not as snakemake tune wrote it: {problem}"
        ) as caught:
            with_choices(parse_campaign(config), results)
        assert len(str(caught.value).splitlines()) == 1


def _to_other_trial(choice: dict[str, Any]) -> None:
    (choice["values"],) = [t["values"] for t in choice["trials"] if t["values"] != choice["values"]]


def _with_its_trial(choice: dict[str, Any]) -> None:
    """A value of one's own that is also that of the best trial."""
    for trial in choice["trials"]:
        if trial["values"] == choice["values"]:
            trial["values"] = {**trial["values"], "lr": 0.1}
    choice["values"] = {**choice["values"], "lr": 0.1}


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda choice: choice["values"].update(lr=0.5), r"toy\.sgd\.values = {'lr': 0\.5.*: must be {'lr'"),
        (_to_other_trial, r"toy\.sgd\.values = .*, those of the best of its trials, synthetic\.sgd\.s1000"),
        (lambda choice: choice.update(val_acc=0.99), r"sgd\.val_acc = 0\.99: must be 0\.\d+, that of the b"),
        (lambda choice: choice.update(values=None), r"toy\.sgd\.values = null: must be {'lr': "),
        (lambda choice: [t.update(val_acc=None) for t in choice["trials"]], r"values = .*: all of its"),
        (lambda choice: choice.update(at_edge=["momentum"]), r"toy\.sgd\.at_edge = \['momentum'\]: must be"),
        (lambda choice: choice["ranges"].update(lr=[1e-9, 1e9]), r"toy\.sgd\.ranges = {'lr': .*: must be {"),
        (_with_its_trial, r"sgd\.trials\.\d\.values = {'lr': 0\.1, .*: not those of its run"),
        (lambda choice: choice["trials"][0].update(run="x"), r"sgd\.trials\.0\.values = .*: not those"),
        (lambda choice: choice["trials"].append(choice["trials"][0]), r"sgd\.trials: 3 of them; must be 2"),
    ],
)  # fmt: skip
def test_choice_that_contradicts_its_trials_is_refused(
    config: dict[str, Any], results: Path, edit: Any, problem: str
) -> None:
    path = choose(parse_campaign(config), results)
    found = json.loads(path.read_text())
    edit(found["toy"]["sgd"])
    path.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match=problem):
        with_choices(parse_campaign(config), results)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda choice: choice.update(at_edge=["momentum"]), r"at_edge = \['momentum'\]: must be "),
        (lambda choice: choice["ranges"].update(lr=[0.01, choice["values"]["lr"]]), r"at_edge = .*: must be"),
    ],
)  # fmt: skip
def test_choices_that_contradict_the_evaluation_are_refused_without_the_spaces(
    config: dict[str, Any], results: Path, edit: Any, problem: str
) -> None:
    path = choose(parse_campaign(config), results)
    evaluated = parse_campaign(json.loads(campaign_spec(with_choices(parse_campaign(config), results))))
    choices.check_evaluated(path, evaluated)
    found = json.loads(path.read_text())
    edit(found["toy"]["sgd"])
    path.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match=problem):
        choices.check_evaluated(path, evaluated)


def test_choices_of_another_evaluation_are_refused(config: dict[str, Any], results: Path) -> None:
    path = choose(parse_campaign(config), results)
    values = json.loads(campaign_spec(with_choices(parse_campaign(config), results)))
    values["tuned"]["toy"]["sgd"]["lr"] = 0.5
    with pytest.raises(ConfigError, match=r"toy\.sgd\.values = {'lr': .*: must be {'lr': 0.5, "):
        choices.check_evaluated(path, parse_campaign(values))


def test_file_of_choices_that_is_a_folder_is_one_line(config: dict[str, Any], tmp_path: Path) -> None:
    config["tuning"]["file"] = str(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"^{tmp_path}: cannot be read \(Is a directory\); give tuning.file"
    ):
        with_choices(parse_campaign(config), tmp_path)


@pytest.fixture
def diverging(config: dict[str, Any], results: Path) -> Campaign:
    """TUNED after the choice, with two further cells whose trials all diverged."""
    config["methods"] |= {
        "wild": {"optimizer": "sgd"},
        "as-wild": {"optimizer": "signsgd", "tuned_as": "wild"},
    }
    config["tuning"]["spaces"]["wild"] = {"lr": [1e25, 1e29]}
    differences = {"kind": "differences", "dataset": "toy"}
    config["figures"] = {
        "to-wild": {**differences, "reference": "wild"},
        "of-wild": {**differences, "reference": "sgd", "cells": ["wild", "as-wild"]},
    }
    campaign = parse_campaign(config)
    (wild,) = [search for search in searches(campaign) if search.label == "wild"]
    for run in wild.runs():
        folder = layout.run_folder(results, run.id)
        folder.mkdir(exist_ok=True)
        write_outcome(folder, run, [], 3)
    choose(campaign, results)
    return with_choices(campaign, results)


def test_cell_whose_trials_all_diverge_is_left_out(diverging: Campaign, results: Path) -> None:
    choice = choices.read(choices.file_of(diverging, results))["toy"]["wild"]
    assert (choice.values, choice.val_acc, [trial.val_acc for trial in choice.trials]) == (
        None,
        None,
        [None] * 2,
    )
    assert not pending(diverging)
    assert {run.cell.label for run in expand(diverging)} == {*CELLS, "post", "preset"}
    assert expand(diverging) == expand(diverging, placeholders=True)
    assert left_out(diverging) == (
        "Left out of the evaluation: wild on toy, as-wild on toy. No trial of wild converged: search lower "
        "values in tuning.spaces.wild, and call snakemake tune."
    )
    table = parse_campaign(json.loads(campaign_spec(diverging)))  # that of the aggregation
    assert [run.id for run in expand(table)] == [run.id for run in expand(diverging)]
    assert left_out(table) == left_out(diverging)


def test_figure_whose_cells_are_all_left_out_is_not_drawn(
    diverging: Campaign, config: dict[str, Any], results: Path
) -> None:
    path = results / "config.yaml"
    path.write_text(json.dumps(config))
    assert set(load_campaign([path], results=results).figures) == {"to-wild"}
    assert set(load_campaign([path], results=results / "before-the-choice").figures) == {"to-wild", "of-wild"}


def test_stale_choices_are_told_from_missing_ones(
    diverging: Campaign, config: dict[str, Any], results: Path
) -> None:
    config["tuning"]["spaces"]["sgd"]["lr"] = [0.001, 1]
    config["tuning"]["spaces"]["wild"] = {"lr": [0.01, 1]}
    config["methods"]["new"] = {"optimizer": "lion"}
    config["tuning"]["spaces"]["new"] = {"lr": [0.01, 1]}
    changed = with_choices(parse_campaign(config), results)
    assert choices.missing(changed, results) == (
        "no choice yet for new; stale choice for sgd, wild: of a search with other ranges, trials or options"
    )
    assert choices.missing(diverging, results) == ""


def test_file_can_lie_elsewhere(config: dict[str, Any], results: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept" / "tuned.json"
    config["tuning"]["file"] = str(elsewhere)
    assert choose(parse_campaign(config), results) == elsewhere
    assert not pending(with_choices(parse_campaign(config), tmp_path / "none"))
