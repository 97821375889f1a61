"""Export of a campaign's results, and what is said where they are missing or of another configuration."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.claims import job
from sign_ablate.cli import app
from sign_ablate.config import Campaign
from sign_ablate.repository import claims_file
from sign_ablate.store.layout import campaign_folder
from sign_ablate.terminal.export import ExportError, export, provenance
from sign_ablate.terminal.rebuild import exported, rebuild
from tests.analysis.conftest import make_campaign, write_run

pytestmark = pytest.mark.slow

CONFIG = [Path("workflow/presets/test.yaml")]


@dataclasses.dataclass(frozen=True)
class Results:
    campaign: Campaign
    root: Path

    @property
    def folder(self) -> Path:
        return campaign_folder(self.root, self.campaign.campaign)

    def export(self, out: Path, partial: bool = False) -> str:
        return export(self.campaign, CONFIG, self.root, out, partial)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Results of a campaign on images in a folder of this machine."""
    root = tmp_path / "results"
    methods = {"sgd": {"optimizer": "sgd", "lr": 0.1}, "signsgd-m": {"optimizer": "signsgd-m", "lr": 0.1}}
    figures = {name: {"kind": "dithering", "dataset": "c"} for name in ("a", "b")}
    parts = {"methods": methods, "figures": figures}
    campaign = make_campaign(datasets={"c": {"source": "cifar10", "path": "/data/of/mine"}}, **parts)
    for run in expand(campaign):
        write_run(root, run, [0.2, 0.4, 0.5, 0.6])
    found = Results(campaign, root)
    without_location = make_campaign(datasets={"c": {"source": "cifar10"}}, **parts)
    aggregate(without_location, root, found.folder)
    job.write(found.folder, found.folder / "claims.parquet", found.folder / "explore.html")
    (found.folder / "table1.md").write_text("a table\n")
    (found.folder / "figures").mkdir()
    for kind in ("png", "pdf"):
        (found.folder / f"figures/a.{kind}").write_bytes(b"a figure")
    return found


def test_core_hours_count_the_threads_of_all_ranks(results: Results) -> None:
    of_run = next(results.root.glob("runs/*/environment.json"))
    of_run.write_text(json.dumps({"seconds": 3600.0, "threads": 2, "ranks": 4}))
    stages = provenance(results.campaign, [], results.root)["stages"]
    assert stages["evaluation"] == {"runs": 6, "core_hours": 8.02}


def test_export_keeps_tables_and_figures_with_their_origin(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "reference" / "test"
    assert results.export(out).startswith(f"{out}: ")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "campaign.json",
        "claims.parquet",
        "epochs.parquet",
        "figures/a.png",
        "figures/ledger.png",
        "figures/seeds.png",
        "predictions.parquet",
        "provenance.json",
        "runs.parquet",
        "summary.parquet",
        "table1.md",
        "times.parquet",
    ]
    origin = json.loads((out / "provenance.json").read_text())
    assert origin["command"] == "snakemake --cores all --configfile workflow/presets/test.yaml"
    assert origin["stages"] == {"evaluation": {"runs": 6, "core_hours": 0.02}}  # 6 runs of 12.5 s
    assert exported(tmp_path / "reference") == [out]
    assert not any(b"/data/of/mine" in path.read_bytes() for path in out.rglob("*.*"))


def test_second_export_has_no_figure_that_is_gone(results: Results, tmp_path: Path) -> None:
    (results.folder / "figures/of-an-earlier-configuration.png").write_bytes(b"a figure")
    results.export(tmp_path / "out")
    (results.folder / "figures/a.png").rename(results.folder / "figures/b.png")
    results.export(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert names == {"b.png", "ledger.png", "seeds.png"}


def test_missing_results_and_those_of_another_configuration(results: Results, tmp_path: Path) -> None:
    other = dataclasses.replace(results, campaign=make_campaign(seeds=[0, 1]))
    with pytest.raises(ExportError, match=r"campaign\.json: made from another configuration; run snakemake"):
        other.export(tmp_path / "out")
    with pytest.raises(ExportError, match=r"partial/campaign\.json: not found; run snakemake partial"):
        results.export(tmp_path / "out", partial=True)
    (results.folder / "claims.parquet").unlink()
    with pytest.raises(ExportError, match=r"claims\.parquet: not found; run snakemake for this campaign"):
        results.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_that_is_exported_is_not_written(results: Results) -> None:
    figures = sorted((results.folder / "figures").iterdir())
    with pytest.raises(ExportError, match=rf"^{results.folder}: is the folder that is exported; give --out"):
        results.export(results.folder)
    assert sorted((results.folder / "figures").iterdir()) == figures


def test_export_over_that_of_an_earlier_configuration(results: Results, tmp_path: Path) -> None:
    results.export(tmp_path / "out")
    for name in ("probes.parquet", "tuned.json"):
        (tmp_path / "out" / name).touch()
    results.export(tmp_path / "out")
    assert not {"probes.parquet", "tuned.json"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_command_of_an_export_has_overrides_but_no_places(results: Results) -> None:
    overrides = ["seeds=[0, 1]", "datasets.c.path=/data/of/mine", "execution.device=cpu"]
    origin = provenance(results.campaign, [Path("my config.yaml")], results.root, overrides)
    assert origin["command"] == (
        "snakemake --cores all --configfile 'my config.yaml' --config 'seeds=[0, 1]'"
    )


def test_damaged_ledger_is_named(results: Results, tmp_path: Path) -> None:
    ledger = results.folder / "claims.parquet"
    ledger.write_bytes(ledger.read_bytes()[:100])
    with pytest.raises(ExportError, match=rf"^{ledger}: damaged \(.*\); delete it and run snakemake again$"):
        results.export(tmp_path / "out")


def test_ledger_older_than_the_claims(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = claims_file().read_text() + "# edited\n"
    monkeypatch.chdir(tmp_path)
    Path("claims.yaml").write_text(edited)
    line = rf"^{results.folder}/claims\.parquet: not made with the present claims\.yaml; run snakemake again$"
    with pytest.raises(ExportError, match=line):
        results.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_leaves_a_folder_of_other_files_alone(results: Results, tmp_path: Path) -> None:
    """A folder of figures of the user's own, and the campaign's results themselves."""
    mine, other = tmp_path / "paper", tmp_path / "results/of-another"
    for folder, name in ((mine, "figures/mine.png"), (other, "figures/of-another.png")):
        (folder / "figures").mkdir(parents=True)
        (folder / name).touch()
    for name in ("running.json", "campaign.json"):
        (other / name).touch()
    for out in (mine, other):
        figures = sorted((out / "figures").iterdir())
        with pytest.raises(ExportError, match=rf"^{out}: has other files than those of an export"):
            results.export(out)
        assert sorted((out / "figures").iterdir()) == figures


@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_export_to_a_file_is_one_line(results: Results, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        ExportError, match=rf"^{tmp_path / name}: cannot be made \(Not a directory\); give --out"
    ):
        results.export(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_rebuild_does_not_delete_what_it_reads(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "rebuilt" / results.campaign.campaign
    results.export(out)
    with pytest.raises(ExportError, match="was made by rebuild; give the folder that sign-ablate export"):
        rebuild([out], out.parent)
    assert (out / "runs.parquet").exists()


@pytest.mark.parametrize("name", ["runs.parquet", "campaign.json"])
def test_rebuild_of_a_damaged_file_names_it_and_keeps_what_there_is(
    results: Results, tmp_path: Path, name: str
) -> None:
    results.export(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes((tmp_path / "out" / name).read_bytes()[:100])
    kept = tmp_path / "rebuilt" / "test" / "report.html"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(
        ExportError, match=rf"^{tmp_path}/out/{name}: damaged \(.*\); restore it, or sign-ablate"
    ):
        rebuild([tmp_path / "out"], tmp_path / "rebuilt")
    assert kept.exists()


def test_rebuild_of_two_exports_of_a_campaign_asks_for_one(results: Results, tmp_path: Path) -> None:
    """The second would replace what the first has just made."""
    one, two = tmp_path / "one", tmp_path / "two"
    results.export(one)
    results.export(two)
    with pytest.raises(ExportError, match=rf"^{one}, {two}: both would be rebuilt in .*/test; give one$"):
        rebuild([one, two], tmp_path / "rebuilt")
    assert not (tmp_path / "rebuilt").exists()


def test_picture_is_a_png(tmp_path: Path) -> None:
    call = CliRunner().invoke(app, ["picture", "test", "--out", "p.txt", "--results", str(tmp_path)])
    assert (call.exit_code, call.stderr) == (1, "sign-ablate: error: --out p.txt: must end in .png\n")


def test_rebuild_without_exported_files_ends_in_one_line(tmp_path: Path) -> None:
    for arguments, line in (
        ([], "no campaign to rebuild; sign-ablate export makes one from results"),
        ([str(tmp_path)], f"{tmp_path}/campaign.json: not found; sign-ablate export writes it"),
    ):
        call = CliRunner().invoke(app, ["rebuild", *arguments, "--results", str(tmp_path)])
        assert (call.exit_code, call.stderr) == (1, f"sign-ablate: error: {line}\n")
