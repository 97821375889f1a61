"""status without a configuration follows the campaign that Snakemake works on."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.cli import campaigns
from sign_ablate.config import parse_campaign
from sign_ablate.jobs import campaign_lock
from sign_ablate.store.layout import RUNNING, campaign_folder
from sign_ablate.terminal.current import running


@pytest.fixture
def results(tiny: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    """Three campaigns: `early` and `late` are running, `late` started last; `over` has ended."""
    before = len(campaign_lock._held)
    for n, name in enumerate(("over", "early", "late")):
        folder = campaign_folder(tmp_path, name)
        if name == "over":
            folder.mkdir()
        else:
            campaign_lock.hold(folder)
        campaign = parse_campaign({**tiny, "campaign": name, "seeds": [n]})
        (folder / RUNNING).write_text(campaign.model_dump_json(exclude_unset=True))
        os.utime(folder / RUNNING, (n, n))
    yield tmp_path
    for file in campaign_lock._held[before:]:
        file.close()
    del campaign_lock._held[before:]


def test_the_latest_campaign_comes_first(results: Path, tiny: dict[str, Any]) -> None:
    found = running(results)
    assert [campaign.campaign for campaign in found] == ["late", "early"]
    same = parse_campaign({**tiny, "campaign": "late", "seeds": [2]})
    assert [run.id for run in expand(found[0])] == [run.id for run in expand(same)]
    (campaign_folder(results, "late") / RUNNING).write_text("{")
    assert [campaign.campaign for campaign in running(results)] == ["early"]


def test_status_follows_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaigns.status(config=None, overrides=[], results=results, watch=None)
    shown = capsys.readouterr()
    assert shown.out.startswith("late  ")
    assert shown.err == "sign-ablate: early is also running; sign-ablate status --config FILE shows it\n"


def test_what_is_given_wins(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaigns.status(config=None, overrides=["campaign=mine"], results=results, watch=None)
    assert capsys.readouterr().out.startswith("mine  ")


def test_where_none_runs_it_is_config_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    campaigns.status(config=None, overrides=[], results=tmp_path, watch=None)
    assert capsys.readouterr().out.startswith("demo  ")
