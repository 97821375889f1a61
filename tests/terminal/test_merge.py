"""`sign-ablate merge`: an exported campaign from exports of its parts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.identity import campaign_spec
from sign_ablate.claims import job
from sign_ablate.cli import app
from sign_ablate.config import load_campaign, parse_campaign
from sign_ablate.store.layout import campaign_folder
from sign_ablate.terminal.export import export
from sign_ablate.tuning.choice import choose
from sign_ablate.tuning.search import all_runs
from tests.analysis.conftest import curve, write_run

pytestmark = pytest.mark.slow

TUNED: dict[str, Any] = {
    "campaign": "both",
    "seeds": [0, 1],
    "datasets": {"digits": {"source": "digits"}},
    "train": {"epochs": 4},
    "methods": {"sgd": {"optimizer": "sgd"}, "signsgd-m": {"optimizer": "signsgd-m"}},
    "figures": {"curves": {"kind": "dithering", "dataset": "digits"}},
    "tuning": {
        "trials": 2,
        "val": 100,
        "spaces": {"sgd": {"lr": [0.01, 1]}, "signsgd-m": {"lr": [1e-4, 1e-2]}},
    },
}
TABLES = ["campaign.json", "claims.parquet", "epochs.parquet", "runs.parquet", "summary.parquet", "table1.md"]


def without(values: dict[str, Any], method: str) -> dict[str, Any]:
    spaces = {name: space for name, space in values["tuning"]["spaces"].items() if name != method}
    methods = {name: options for name, options in values["methods"].items() if name != method}
    return {**values, "methods": methods, "tuning": {**values["tuning"], "spaces": spaces}}


def write_config(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def part(folder: Path, values: dict[str, Any], out: Path) -> Path:
    """Export of a campaign that a machine with the folder `folder` tuned and ran."""
    folder.mkdir()
    config, results = write_config(folder / "config.yaml", values), folder / "results"
    for run in all_runs(load_campaign([config], results=results)):
        write_run(results, run, curve(0.5 + 0.01 * (run.trial or 0), 4), val=0.5 + 0.01 * (run.trial or 0))
    choose(load_campaign([config], results=results), results)
    campaign = load_campaign([config], results=results)
    for i, run in enumerate(expand(campaign)):
        write_run(results, run, curve(0.7 + 0.01 * i, 4))
    tables = campaign_folder(results, campaign.campaign)
    aggregate(parse_campaign(json.loads(campaign_spec(campaign))), results, tables)
    job.write(tables, tables / "claims.parquet", tables / "explore.html", tuned=tables / "tuned.json")
    (tables / "table1.md").write_text("a table\n")
    export(campaign, [config], results, out)
    return out


def merge(*arguments: Path | str) -> tuple[int, str]:
    call = CliRunner().invoke(app, ["merge", *map(str, arguments)])
    return call.exit_code, call.stdout + call.stderr


def test_methods_of_two_machines(tmp_path: Path) -> None:
    """Each machine tuned and ran one method. Rebuilding the merged export changes nothing."""
    one = part(tmp_path / "a", without(TUNED, "sgd"), tmp_path / "one")
    more = without(TUNED, "signsgd-m") | {"campaign": "other", "seeds": [0, 1, 2, 3]}
    two = part(tmp_path / "b", more, tmp_path / "😀 two")
    config, results = write_config(tmp_path / "both.yaml", TUNED), tmp_path / "results"
    code, said = merge(one, two, "-c", config, "--results", results)
    out = results / "reference/both"
    assert code == 0, said
    assert said.startswith(f"{one}: 2 runs\n{two}: 2 runs, 2 are of another configuration\n{out}: ")
    tuned = json.loads((out / "tuned.json").read_text())
    assert {label: len(choice["trials"]) for label, choice in tuned["digits"].items()} == {
        "sgd": 2,
        "signsgd-m": 2,
    }
    assert {path.name for path in (out / "figures").iterdir()} >= {"curves.png", "tuning-digits.png"}
    origin = json.loads((out / "provenance.json").read_text())
    assert origin["command"] == f"sign-ablate merge {one} '{two}' -c {config}"
    assert [(each["runs_taken"], each["stages"]["tuning"]["runs"]) for each in origin["parts"]] == [
        (2, 2),
        (2, 2),
    ]
    assert str(tmp_path) not in (out / "campaign.json").read_text()

    before = {name: (out / name).read_bytes() for name in TABLES}
    call = CliRunner().invoke(app, ["rebuild", str(out), "--results", str(results)])
    assert "byte for byte" in call.stdout
    assert merge(out, one, "-c", config, "--results", results)[0] == 0  # onto itself
    assert {name: (out / name).read_bytes() for name in TABLES} == before

    fewer = write_config(tmp_path / "fewer.yaml", without(TUNED, "sgd"))
    code, said = merge(one, "-c", fewer, "--results", results)
    assert (code, "has 2 runs that would be lost" in said) == (1, True)
    assert {name: (out / name).read_bytes() for name in TABLES} == before


def test_choice_that_no_part_has(tmp_path: Path) -> None:
    one = part(tmp_path / "a", without(TUNED, "sgd"), tmp_path / "one")
    config = write_config(tmp_path / "both.yaml", TUNED)
    code, said = merge(one, "-c", config, "--results", tmp_path / "results")
    assert (code, said) == (
        1,
        f"sign-ablate: error: {one}/tuned.json: no choice yet for sgd; make it with snakemake tune, and "
        "export it as another part\n",
    )
    assert not (tmp_path / "results").exists()


def test_bad_parts_and_folders_lose_nothing(tmp_path: Path) -> None:
    values = without(TUNED, "sgd")
    one = part(tmp_path / "a", values, tmp_path / "one")
    config, mine = write_config(tmp_path / "one.yaml", values), tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").touch()
    for arguments, line in (
        ([mine], f"{mine}/campaign.json: not found; sign-ablate export writes it"),
        ([one, "--out", mine], f"{mine}: has other files than those of an export; give --out a new folder, "),
        ([one, "--set", "seeds=[7]"], f"{one}: none of the 1 runs of both is there"),
    ):
        code, said = merge(*arguments, "-c", config, "--results", tmp_path / "results")
        assert code == 1
        assert said.startswith(f"sign-ablate: error: {line}")
    (one / "provenance.json").write_text("[]")
    code, said = merge(one, "-c", config, "--results", tmp_path / "results")
    assert (code, said.startswith(f"sign-ablate: error: {one}/provenance.json: damaged (")) == (1, True)
    (one / "provenance.json").unlink()
    (one / "tuned.json").write_text((one / "tuned.json").read_text().replace('"lr": 0.00', '"lr": 0.1', 1))
    code, said = merge(one, "-c", config, "--results", tmp_path / "results")
    assert (code, f"{one}/tuned.json: " in said) == (1, True)
    assert not (tmp_path / "results/reference").exists()
