"""plan and show. status: tests/status."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.__main__ import main
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import Campaign, parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.jobs import training
from sign_ablate.store import fingerprint
from sign_ablate.store.layout import run_folder, runs_folder
from sign_ablate.terminal import estimate
from sign_ablate.terminal.find import NotFoundError
from sign_ablate.terminal.plan import plan
from sign_ablate.terminal.show import show
from tests.conftest import write_outcome


@pytest.fixture
def campaign(tiny: dict[str, Any]) -> Campaign:
    tiny["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": 0.05},
        "wild": {"optimizer": "sgd", "lr": 1.0e30},
        "adam": {"optimizer": "adam", "lr": 0.001, "model": "resnet18"},
    }
    tiny["figures"] = {}
    return parse_campaign(tiny)


def ids(campaign: Campaign) -> dict[tuple[str, int], str]:
    """The ids of runs by method and seed."""
    return {(run.cell.method, run.config.seed): run.id for run in expand(campaign)}


@pytest.fixture
def results(campaign: Campaign, tmp_path: Path) -> Path:
    """One run of sgd and one of wild done, one of sgd begun."""
    runs = {(run.cell.method, run.config.seed): run for run in expand(campaign)}
    folder = runs_folder(tmp_path)
    prepare(runs["sgd", 0].config.data, tmp_path / "data")
    for key in (("sgd", 0), ("wild", 0)):
        training.train(runs[key].spec, tmp_path / "data", folder / runs[key].id, device="cpu")
    (folder / runs["sgd", 1].id).mkdir()
    return tmp_path


def test_plan_estimates_from_like_runs_and_says_what_it_cannot(campaign: Campaign, results: Path) -> None:
    lines = plan(campaign, results).splitlines()
    cells = {line.split()[1]: line.split()[2:] for line in lines[1:4]}
    assert cells["sgd"][:2] == ["2", "1"]
    assert float(cells["sgd"][2]) > 0
    assert cells["adam"] == ["2", "2", "?", "?"]  # no ResNet-18 was measured
    assert lines[5] == "6 runs: 2 done, 4 to do."
    expected = r"(\d\.\d|Under 0\.1) minutes of work for 2 of them, divided by the number of cores\."
    assert re.fullmatch(expected, lines[6])
    assert lines[7] == (
        "2 runs without an estimate: none with the same data, model, batch size and precision has been "
        f"measured on cpu below {results}/."
    )


@pytest.mark.slow
def test_plan_without_any_estimate_names_no_time(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"seeds": list(range(500)), "figures": {}}
    text = plan(parse_campaign(tiny), tmp_path, minutes=30)
    assert "5000 runs: 0 done, 5000 to do." in text
    assert "5000 runs without an estimate: none with the same data" in text
    assert text.endswith("\nHow much is done after 30 minutes is not known.")
    assert "minutes of work" not in text


@pytest.mark.parametrize("done", [0, 1])
def test_plan_of_one_run(done: int, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"seeds": [0], "figures": {}, "methods": {"sgd": tiny["methods"]["sgd"]}}
    campaign = parse_campaign(tiny)
    (run,) = expand(campaign)
    if done:
        run_folder(tmp_path, run.id).mkdir(parents=True)
        write_outcome(run_folder(tmp_path, run.id), run, [{"epoch": 1, "test_acc": 0.5}], None)
    lines = plan(campaign, tmp_path, minutes=1).splitlines()
    assert lines[3] == f"1 run: {done} done, {1 - done} to do."
    assert len(lines) == (4 if done else 6)
    if not done:
        assert lines[4].startswith("1 run without an estimate")
        assert lines[5] == "How much is done after 1 minute is not known."


def test_plan_of_short_runs_does_not_say_zero_minutes(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny |= {"figures": {}, "seeds": [0], "methods": {"sgd": tiny["methods"]["sgd"]}}
    monkeypatch.setattr(estimate, "seconds", lambda *_: 1.0)
    lines = plan(parse_campaign(tiny), tmp_path).splitlines()
    assert lines[1].endswith("under 0.1")
    assert lines[-1] == "Under 0.1 minutes of work, divided by the number of cores."


@pytest.fixture
def last(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], str]:
    """Last line of the plan of `tiny` for so many minutes, with two cores and runs of a minute."""
    monkeypatch.setattr(estimate, "seconds", lambda *_: 60.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    def last(minutes: float) -> str:
        return plan(parse_campaign(tiny), tmp_path, minutes).splitlines()[-1]

    return last


def test_plan_for_a_time_counts_whole_seeds_first(
    tiny: dict[str, Any], last: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three methods of a minute each, two at a time: seed 0 takes one and a half of two rounds."""
    tiny |= {"figures": {}, "methods": {name: tiny["methods"][name] for name in ("sgd", "adam", "hybrid")}}
    assert last(0.5) == "After 0.5 minutes, 2 at a time: no run done."
    assert last(1) == "After 1 minute, 2 at a time: 2 of 3 runs with seed 0 done."
    assert last(2) == (
        "After 2 minutes, 2 at a time: every method with seed 0; 1 of 3 runs with seed 1 done."
    )
    assert last(3) == "After 3 minutes, 2 at a time: every method with seeds 0, 1 done."
    # hybrid without an estimate: of each seed, two are known
    monkeypatch.setattr(
        estimate, "seconds", lambda run, *_: None if run["method"]["optimizer"] == "hybrid" else 60.0
    )
    assert last(2) == (
        "After 2 minutes, 2 at a time, if the 2 runs without an estimate came last: "
        "2 of 3 runs with seed 0; 2 of 3 runs with seed 1 done."
    )


def test_run_of_two_ranks_takes_two_cores(tiny: dict[str, Any], last: Callable[[float], str]) -> None:
    """Two cores, runs of a minute: that of two ranks waits for both, and the last one for it."""
    ranked = {**tiny["methods"]["signsgd-m"], "workers": 2}
    methods = {"sgd": tiny["methods"]["sgd"], "ranked": ranked, "adam": tiny["methods"]["adam"]}
    tiny |= {"figures": {}, "seeds": [0], "methods": methods, "execution": {"max_ranks": 2}}
    assert last(2) == "After 2 minutes, 2 at a time: 2 of 3 runs with seed 0 done."
    assert last(3) == "After 3 minutes, 2 at a time: every method with seed 0 done."
    tiny["execution"]["max_ranks"] = 1
    assert last(2) == "After 2 minutes, 2 at a time: every method with seed 0 done."


def test_run_that_needs_more_slots_than_there_are_takes_all() -> None:
    assert estimate.ends([(1, 1), (3, 1), (2, 5), (1, 1)], 2) == [1, 3, 5, 6]


def test_runs_of_so_many_steps_are_estimated_from_their_like(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"figures": {}, "methods": {"sgd": tiny["methods"]["sgd"]}, "seeds": [0, 1]}
    tiny["train"] = {"model": "small", "steps": 7, "batch_size": 32}
    first, _ = expand(parse_campaign(tiny))
    prepare(first.config.data, tmp_path / "data")
    training.train(first.spec, tmp_path / "data", run_folder(tmp_path, first.id), device="cpu")
    assert "without an estimate" not in plan(parse_campaign(tiny), tmp_path)
    tiny["train"]["steps"] = 8
    assert "2 runs without an estimate" in plan(parse_campaign(tiny), tmp_path)


def test_show_tells_a_run(campaign: Campaign, results: Path) -> None:
    text = show(ids(campaign)["sgd", 0], results)
    assert "state: done" in text
    assert '"momentum": 0.9' in text
    assert "test_acc" in text
    assert "sigma" not in text  # a column that this method has not
    assert f"code {fingerprint.of_training()}" in text


def test_show_tells_a_run_that_diverged_at_once(campaign: Campaign, results: Path) -> None:
    lines = show(ids(campaign)["wild", 0], results).splitlines()
    assert lines[1] == "state: diverged"
    assert re.fullmatch(r"loss or gradient not finite at step \d+", lines[-1])


def test_show_tells_a_run_that_is_missing(campaign: Campaign, results: Path) -> None:
    """A run that was started and has only a folder can be shown."""
    assert show("sgd.s1", results).splitlines()[1:] == ["state: missing"]


@pytest.fixture
def adams(tiny: dict[str, Any], tmp_path: Path) -> list[Run]:
    """Adam at two rates, with seeds 0, 1 and 10."""
    methods = {"adam": {"optimizer": "adam", "lr": [0.003, 0.001]}}
    runs = expand(parse_campaign({**tiny, "seeds": [0, 1, 10], "methods": methods, "figures": {}}))
    for run in runs:
        folder = run_folder(tmp_path, run.id)
        folder.mkdir(parents=True)
        write_outcome(folder, run, [{"epoch": 1, "step": 3, "test_acc": 0.5}], None)
    return runs


def test_show_lists_what_to_type(adams: list[Run], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        show("synthetic.adam.s0", tmp_path)
    line, *matches = str(caught.value).splitlines()
    ids = sorted(run.id for run in adams if run.config.seed == 0)
    assert line == f"synthetic.adam.s0: 2 runs of that name; type more of it, such as {ids[0]}"
    rates = {run.id: run.config.method.lr for run in adams}
    assert matches == [f"  {run}  done  method.lr={rates[run]}" for run in ids]
    for run in ids:
        assert show(run, tmp_path).startswith(str(run_folder(tmp_path, run)))


def test_show_takes_a_path_and_a_part(adams: list[Run], tmp_path: Path) -> None:
    run = adams[-1]
    folder = run_folder(tmp_path, run.id)
    for name in (run.id, run.id.rsplit(".", 1)[1], f"{folder}/", str(folder)):
        assert show(name, tmp_path).splitlines()[0] == str(folder)
    with pytest.raises(NotFoundError, match="2 runs of that name"):
        show("synthetic.adam.s1", tmp_path)  # not of seed 10
    with pytest.raises(NotFoundError, match="4 runs of that name"):
        show("adam.s1", tmp_path)  # a part: of seed 10 as well


@pytest.mark.parametrize("name", ["nothing", "sgd.s7", "runs/sgd.s7"])
def test_show_of_no_run(name: str, campaign: Campaign, results: Path) -> None:
    with pytest.raises(NotFoundError, match=f"^{name}: no run of that name in .*/runs/; give a part"):
        show(name, results)


def test_terminal_that_has_no_such_character(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the C locale without UTF-8, ± and · are shown as ?."""
    (tmp_path / "runs" / "a.b.s0.0123456789").mkdir(parents=True)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["sign-ablate", "runs", "--results", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    terminal.seek(0)
    assert "a.b.s0.0123456789  missing  ?      ?        ?" in terminal.read()


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("output", ["full disk", "closed pipe"])
def test_output_that_cannot_be_written(output: str, unbuffered: str, tmp_path: Path) -> None:
    """Like other commands: a closed pipe (`| head -1`) is silent, and all else is one line."""
    reader, pipe = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sign_ablate", "runs", "--results", str(tmp_path)],
            stdout=full if output == "full disk" else pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    os.close(pipe)
    assert done.returncode == 1
    if output == "full disk":
        line = "sign-ablate: error: standard output: [Errno 28] No space left on device; make room there"
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1
    else:
        assert done.stderr == ""
