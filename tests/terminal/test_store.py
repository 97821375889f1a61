"""`sign-ablate runs` and `sign-ablate prune`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.cli import app
from sign_ablate.config import Campaign, load_campaign, parse_campaign
from sign_ablate.jobs import campaign_lock
from sign_ablate.jobs.run_lock import JobError, locked
from sign_ablate.store.layout import CHECKPOINT, METRICS, campaign_folder, data_file, run_folder, runs_folder
from sign_ablate.terminal.store import prune, runs_text
from tests.conftest import write_outcome


@pytest.fixture
def campaigns(tiny: dict[str, Any]) -> list[Campaign]:
    """`one` has SGD and Adam, `other` the same SGD under another label and another data set."""
    tiny |= {"seeds": [0], "figures": {}}
    sgd, adam = tiny["methods"]["sgd"], {"optimizer": "adam", "lr": 0.003}
    one = {**tiny, "campaign": "one", "methods": {"sgd": sgd, "adam": adam}}
    other = {**tiny, "campaign": "other", "methods": {"baseline": sgd}}
    other["datasets"] = {**tiny["datasets"], "more": {"source": "synthetic", "train_images": 128}}
    return [parse_campaign(one), parse_campaign(other)]


@pytest.fixture
def runs(campaigns: list[Campaign], tmp_path: Path) -> dict[str, Run]:
    """All runs, done but for that of the other data set, and the data files."""
    found = {
        run.cell.label if run.cell.dataset == "synthetic" else "more": run
        for c in campaigns
        for run in expand(c)
    }
    for name, run in found.items():
        folder = run_folder(tmp_path, run.id)
        folder.mkdir(parents=True, exist_ok=True)
        data_file(tmp_path, run.data_id).parent.mkdir(exist_ok=True)
        data_file(tmp_path, run.data_id).write_bytes(b"images")
        if name == "more":
            (folder / CHECKPOINT).touch()
        else:
            write_outcome(folder, run, [{"epoch": 1, "test_acc": 0.5}], None)
    return found


def test_runs_says_what_each_is_and_who_uses_it(
    campaigns: list[Campaign], runs: dict[str, Run], tmp_path: Path
) -> None:
    head, *rows, total = runs_text(campaigns, tmp_path).splitlines()
    assert head.split() == ["run", "state", "ended", "options", "used", "by"]
    by_run = {row.split()[0]: row for row in rows}
    assert len(by_run) == len(rows) == 3
    assert by_run[runs["sgd"].id].endswith("  lr=0.05   one (sgd), other (baseline)")
    assert by_run[runs["adam"].id].endswith("lr=0.003  one (adam)")
    assert by_run[runs["more"].id].split()[1:] == ["interrupted", "·", "·", "other", "(baseline)"]
    assert total.startswith(f"3 runs in {runs_folder(tmp_path)}/ (")
    assert total.endswith("0 not used by the given campaigns (one, other).")
    assert runs_text(campaigns[1:], tmp_path).endswith("1 not used by the given campaigns (other).")


def test_runs_of_an_empty_store(campaigns: list[Campaign], tmp_path: Path) -> None:
    assert runs_text(campaigns, tmp_path).startswith("0 runs in ")


def test_prune_shows_and_then_deletes_what_no_campaign_uses(
    campaigns: list[Campaign], runs: dict[str, Run], tmp_path: Path
) -> None:
    adam, sgd, more = (run_folder(tmp_path, runs[name].id) for name in ("adam", "sgd", "more"))
    assert prune(campaigns, tmp_path) == "Nothing to delete."
    *lines, total = prune(campaigns[1:], tmp_path).splitlines()
    assert lines == [f"{adam}  done  lr=0.003"]
    assert total.startswith("1 run and 0 data files (")
    assert (adam / METRICS).exists()
    assert prune(campaigns[1:], tmp_path, delete=True).splitlines()[-1] == "Deleted: 1 run and 0 data files."
    assert not adam.exists()
    assert prune(campaigns[:1], tmp_path, delete=True).splitlines() == [
        f"{more}  interrupted",
        str(data_file(tmp_path, runs["more"].data_id)),
        "Deleted: 1 run and 1 data file.",
    ]
    assert (sgd / METRICS).exists()
    assert data_file(tmp_path, runs["sgd"].data_id).exists()


def test_prune_keeps_what_a_value_given_for_one_call_made(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The run of `snakemake --config seeds=[7]`."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(tiny))
    results = tmp_path / "results"
    extra = next(iter(expand(load_campaign([config], ["seeds=[7]"], results))))
    folder = run_folder(results, extra.id)
    folder.mkdir(parents=True)
    write_outcome(folder, extra, [{"epoch": 1, "test_acc": 0.5}], None)
    arguments = ["prune", str(config), "--results", str(results)]
    assert str(folder) in CliRunner().invoke(app, arguments).stdout
    kept = CliRunner().invoke(app, [*arguments, "--set", "seeds=[7]"])
    assert (kept.exit_code, kept.stdout) == (0, "Nothing to delete.\n")


def test_prune_leaves_what_is_in_progress(
    campaigns: list[Campaign], runs: dict[str, Run], tmp_path: Path
) -> None:
    """A running run is kept, and so is every data file, because the run may be about to read one."""
    more = run_folder(tmp_path, runs["more"].id)
    with locked(more):
        lines = prune(campaigns[:1], tmp_path, delete=True).splitlines()
        assert lines == [f"{more}  running: kept", "Deleted: 0 runs and 0 data files."]
    assert (more / CHECKPOINT).exists()
    assert data_file(tmp_path, runs["more"].data_id).exists()


def test_prune_waits_for_campaigns_that_are_not_given(
    campaigns: list[Campaign], runs: dict[str, Run], tmp_path: Path
) -> None:
    campaign_lock.hold(campaign_folder(tmp_path, "one"))
    with pytest.raises(JobError, match="one: Snakemake is running this campaign, which is not among those"):
        prune(campaigns[1:], tmp_path, delete=True)
    assert run_folder(tmp_path, runs["adam"].id).exists()
    assert prune(campaigns[:1], tmp_path, delete=True).endswith("Deleted: 1 run and 1 data file.")


def test_prune_keeps_the_evaluation_whose_choices_are_missing(tiny: dict[str, Any], tmp_path: Path) -> None:
    """`tuned.json` is deleted, or is another file in the calls of Snakemake."""
    tiny |= {"figures": {}, "seeds": [0]}
    tiny["train"]["milestones"] = [2]
    tiny["methods"] = {"sgd": {"optimizer": "sgd"}, "twin": {"optimizer": "sgd", "tuned_as": "sgd"}}
    tiny["methods"]["twin"]["momentum"] = 0.5
    tiny["tuning"] = {"trials": 2, "val": 32, "spaces": {"sgd": {"lr": [0.01, 1], "lr_decay": [0.1, 0.9]}}}
    values = {"synthetic": {"sgd": {"lr": 0.3, "lr_decay": 0.5}}}
    tuned, other = (
        expand(parse_campaign(tiny | {"methods": methods}).model_copy(update={"tuned": values}))
        for methods in (tiny["methods"], {"sgd": {"optimizer": "sgd", "momentum": 0.7}})
    )
    for run in (*tuned, *other):
        run_folder(tmp_path, run.id).mkdir(parents=True)
        write_outcome(run_folder(tmp_path, run.id), run, [{"epoch": 1, "test_acc": 0.5}], None)
        data_file(tmp_path, run.data_id).parent.mkdir(exist_ok=True)
        data_file(tmp_path, run.data_id).write_bytes(b"images")
    assert [run.id for run in expand(parse_campaign(tiny))] == []
    lines = prune([parse_campaign(tiny)], tmp_path, delete=True).splitlines()
    assert lines[-2:] == [
        "2 runs kept, since they fit cells without a choice (tiny); run snakemake tune.",
        "Deleted: 1 run and 0 data files.",
    ]
    assert {path.name for path in runs_folder(tmp_path).iterdir()} == {run.id for run in tuned}
    assert "tiny (twin, without a choice)" in runs_text([parse_campaign(tiny)], tmp_path)
