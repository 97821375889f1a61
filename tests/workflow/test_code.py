"""Edits of the code: tables and figures are made again where it matters, runs by request only."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.store.run_files import ENVIRONMENT, METRICS
from tests.workflow.conftest import Repository, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

LEDGER = {"ledger": 1, "report_html": 1}
ALL = {"aggregate": 1, "ledger": 1, "figure": 2, "table": 1, "report_html": 1}


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new, 1), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def of(repository: Repository, *arguments: str) -> list[str]:
    """The lines of the command line, with the repository's own code."""
    line = [sys.executable, "-m", "sign_ablate", *arguments]
    done = subprocess.run(line, cwd=repository.folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "old", "new", "jobs"),
    [
        ("sign_ablate/analysis/figures.py", "\nimport", "\nedited = 1\nimport", ALL),
        ("sign_ablate/analysis/stats.py", "\nimport", "\nedited = 1\nimport", ALL),
        ("sign_ablate/analysis/stats.py", "\nimport", "\n)", ALL),
        ("sign_ablate/analysis/stats.py", "\nimport", "\n# a comment\nimport", {}),
        ("sign_ablate/optim/signsgd.py", "\nimport", "\nedited = 1\nimport", {}),
        ("sign_ablate/claims/verdict.py", "\nimport", "\nedited = 1\nimport", LEDGER),
        ("claims.yaml", "near: {other: 1}", "near: {other: 2}", LEDGER),
        ("notebooks/table1.ipynb", '"outputs": []', '"outputs": [], "collapsed": true', {}),
        ("notebooks/table1.ipynb", '"from ', '"x = 1\\n",\n    "from ', {"table": 1, "report_html": 1}),
        ("notebooks/report.ipynb", "## Table I", "## Table 1", {"report_html": 1}),
        ("notebooks/dithering.ipynb", '"from ', '"x = 1\\n",\n    "from ', {"figure": 1, "report_html": 1}),
    ],
)  # fmt: skip
def test_edit_redraws_what_it_can_change(
    name: str, old: str, new: str, jobs: dict[str, int], finished: Repository, config: dict[str, Any]
) -> None:
    finished.configure(config)
    with edited(finished.folder / name, old, new):
        assert finished.jobs() == jobs


def test_drawing_again_trains_nothing_and_is_done_once(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    figure = copy.folder / "results/tiny/figures/figure2.png"
    before = figure.read_bytes()
    with edited(copy.folder / "sign_ablate/analysis/figures.py", "Epoch", "Epochs done"):
        copy.call()
        assert figure.read_bytes() != before
        assert copy.jobs() == {}


def test_text_of_the_command_is_no_part_of_a_run(finished: Repository, config: dict[str, Any]) -> None:
    finished.configure(config)
    rules = finished.folder / "workflow/rules/commands.smk"
    with edited(rules, "python -m sign_ablate {name}", "python  -m  sign_ablate {name}"):
        assert finished.jobs() == {}
    with edited(rules, '"threads": execution.threads', '"threads": execution.threads, "deterministic": 1'):
        assert finished.jobs() == {}


def test_command_is_what_is_run(config: dict[str, Any], tmp_path: Path) -> None:
    """With a path that a shell would take apart, if it were not quoted."""
    config |= {"methods": {"sgd": config["methods"]["sgd"] | {"workers": 2}}, "seeds": [0], "figures": {}}
    config["execution"] |= {"threads": 2, "compile": "none", "deterministic": True, "max_ranks": 2}
    repository = make(tmp_path / "a folder's", config)
    (run,) = expand(parse_campaign(config))
    repository.call(f"results/runs/{run.id}/{METRICS}")
    environment = json.loads((repository.folder / "results/runs" / run.id / ENVIRONMENT).read_text())
    assert [environment[key] for key in ("threads", "deterministic", "ranks")] == [2, True, 2]


def test_runs_of_other_code_are_listed_and_run_again(
    finished: Repository, config: dict[str, Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.configure(config)
    assert of(copy, "outdated") == []
    assert copy.jobs("--forcerun", *of(copy, "outdated")) == {}
    runs = sorted((copy.folder / "results/runs").iterdir())
    with edited(copy.folder / "sign_ablate/optim/signsgd.py", "\nimport", "\n# a comment\nimport"):
        assert of(copy, "outdated") == []
    with edited(copy.folder / "sign_ablate/optim/signsgd.py", "\nimport", "\nedited = 1\nimport"):
        files = of(copy, "outdated")
        assert sorted(files) == [f"results/runs/{run.name}/{METRICS}" for run in runs]
        assert copy.jobs("--forcerun", *files) == {"train": len(runs), **ALL}
    with edited(copy.folder / "sign_ablate/data/generated.py", "\nimport", "\nedited = 1\nimport"):
        data, *files = of(copy, "outdated")
        assert [data] == [
            f"results/data/{path.name}" for path in (copy.folder / "results/data").glob("*.npz")
        ]
        assert len(files) == len(runs)
        assert copy.jobs("--forcerun", data, *files) == {"prepare": 1, "train": len(runs), **ALL}
    # of other code, of unknown code, and not to be read
    kept = {run: (run / METRICS).stat().st_mtime_ns for run in runs}
    described = json.loads((runs[0] / ENVIRONMENT).read_text())
    (runs[0] / ENVIRONMENT).write_text(json.dumps({**described, "code": "0123456789ab"}))
    del described["code"]
    (runs[1] / ENVIRONMENT).write_text(json.dumps(described))
    (runs[2] / ENVIRONMENT).write_text("{")
    assert copy.jobs() == {}
    files = of(copy, "outdated")
    assert sorted(files) == [f"results/runs/{run.name}/{METRICS}" for run in runs[:3]]
    copy.call("--forcerun", *files)
    assert of(copy, "outdated") == []
    assert copy.jobs() == {}
    again = [run for run in runs if (run / METRICS).stat().st_mtime_ns != kept[run]]
    assert again == runs[:3]
