"""Views of the ledger: the report's part, the interactive page, and the terminal."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from sign_ablate.claims import explore, explore_data, job, page, table
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.ledger import ledger
from sign_ablate.claims.model import digest, load
from sign_ablate.cli import app
from tests.claims.conftest import evidence
from tests.claims.test_ledger import curves

TRIALS = [
    {"values": {"lr": 0.1}, "run": "a", "val_acc": 0.5},
    {"values": {"lr": 0.3}, "run": "b", "val_acc": None},
]
TUNED = {"cifar10": {"sgd": {"values": {"lr": 0.1}, "val_acc": 0.5, "at_edge": [], "trials": TRIALS}}}


TRAILS = "SignSGD-M trails well-tuned SGD"


@pytest.fixture(scope="module")
def tables() -> Evidence:
    """A proxy with some of the arms, one of which is far below the others."""
    arms = {
        "sgd": curves(60, 92),
        "signsgd-m": curves(60, 90),
        "hybrid": curves(60, 91.5),
        "signsgd-m-drop": curves(60, 91.4),
        "naive-switch": curves(10, 20),
        "post-dither alpha=0.1": [*curves(60, 90)[:7], [None]],
    }
    return evidence(arms, {"tuned": TUNED}, train={"model": "small", "epochs": 10})


@pytest.fixture(scope="module")
def rows(tables: Evidence, tmp_path_factory: pytest.TempPathFactory) -> list[table.Row]:
    folder = tmp_path_factory.mktemp("ledger")
    table.write(ledger(load(), tables), folder / table.LEDGER, digest())
    return table.read(folder)


def of(rows: list[table.Row], claim: str) -> table.Row:
    (row,) = [row for row in rows if row["claim"] == claim]
    return row


def test_sentence_counts_every_row_once(rows: list[table.Row]) -> None:
    said = page.sentence(rows)
    assert sum(map(int, re.findall(r"(\d+) (?:is|are) ", said.split("for itself")[0]))) == sum(
        not row["ours"] for row in rows
    )
    assert "a proxy of the paper's setting (data: cifar10, epochs: 10, network: small)" in said
    assert page.sentence([{**rows[0], "verdict": "refuted"}]) == "Of the paper's claims, 1 is refuted."


def test_table_has_verdict_effect_and_forest(rows: list[table.Row]) -> None:
    text = page.table(rows).data
    assert text.count("<tr><td>") == len(rows)
    row = of(rows, "sign-trails-sgd")
    line = page._line(row, several=False)
    assert "proxy: supported</span>" in line
    assert page.numbers(row).startswith("+2.00 [+")
    assert page.numbers(row).endswith("] points")
    exact = {**row, "effect": 0.25, "low": 0.25, "high": 0.25, "unit": "", "comparison": "theory"}
    assert page.numbers(exact) == "0.25"
    assert page.numbers({**row, "low": None, "high": None}) == "+2.00 points"
    assert "sgd − signsgd-m" in line
    missing = page._line(of(rows, "naive-sgd-rate"), several=False)
    assert "no arm naive-switch-sgd" in missing
    assert "<svg" not in missing
    assert "1 diverged" in page._line(of(rows, "post-marginal"), several=False)


def test_share_is_in_percent(rows: list[table.Row]) -> None:
    share = {**rows[0], "comparison": "measurement", "unit": "share", "effect": 1.2e-4}
    assert page.numbers({**share, "low": -3e-5, "high": 0.012}) == "0.01 [0.00, 1.20] %"


def test_forest_is_in_margins_with_the_margin_shaded(rows: list[table.Row]) -> None:
    row = {**of(rows, "sign-trails-sgd"), "effect": 0.5, "low": 0.25, "high": 0.75, "margin": 0.5}
    drawn = ElementTree.fromstring(page.forest({**row, "image_low": 0.0, "image_high": 1.0}))
    band, zero, seeds, images = drawn[0].attrib, drawn[1].attrib, drawn[2].attrib, drawn[3].attrib
    one = float(drawn[4].attrib["cx"]) - float(zero["x1"])  # the effect is one margin
    assert float(band["x"]) == pytest.approx(float(zero["x1"]) - one, abs=0.2)
    assert float(band["width"]) == pytest.approx(2 * one, abs=0.2)
    assert float(seeds["x2"]) - float(seeds["x1"]) == pytest.approx(one, abs=0.2)
    assert float(images["x2"]) - float(images["x1"]) == pytest.approx(2 * one, abs=0.2)
    far = ElementTree.fromstring(page.forest({**row, "effect": 40.0, "low": 39.0, "high": 41.0}))
    assert far[-1].text == "▶"


@pytest.mark.slow
def test_page_to_explore_is_one_file_without_links_and_the_same_again(
    rows: list[table.Row], tables: Evidence, tmp_path: Path
) -> None:
    explore.write(rows, tables, tmp_path / "a.html", "test: claims")
    explore.write(rows, tables, tmp_path / "b.html", "test: claims")
    content = (tmp_path / "a.html").read_bytes()
    assert content == (tmp_path / "b.html").read_bytes()
    assert len(content) < 2_000_000
    text = content.decode()
    assert "<title>test: claims</title>" in text
    assert "body #vis.vega-embed { display: block;" in text  # a narrow window scrolls
    loaded = re.sub(r"(<script[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)  # its code loads nothing
    assert not re.search(r"(?:src|href|url)\s*[=(]", loaded)


def test_title_cannot_end_the_script_of_the_page(
    rows: list[table.Row], tables: Evidence, tmp_path: Path
) -> None:
    titled = {**rows[0], "title": "</script> in a title"}
    explore.write([titled], tables, tmp_path / "page.html", "test")
    content = (tmp_path / "page.html").read_text()
    assert r"<\/script> in a title" in content
    assert "</script> in a title" not in content


def drawn(rows: list[table.Row], tables: Evidence, **chosen: Any) -> str:
    """SVG of the page after a click."""
    import vl_convert

    spec = explore.page(rows, tables, "test").to_dict()
    for param in spec["params"]:
        param["value"] = chosen.get(param["name"], [])
    return str(vl_convert.vegalite_to_svg(spec))


def test_details_separate_verdict_and_reason(rows: list[table.Row]) -> None:
    row = {
        **of(rows, "sign-trails-sgd"),
        "tests": [],
        "verdict": "unresolved",
        "reason": "one seed: no interval",
    }
    assert explore_data.details([row])[-1]["text"].endswith("n = 8: unresolved; one seed: no interval")


@pytest.mark.slow
def test_click_on_a_claim_or_a_method_shows_what_it_rests_on(rows: list[table.Row], tables: Evidence) -> None:
    (claim,) = [record for record in explore_data.claims(rows) if record["title"] == TRAILS]
    assert claim["cells"] == "|sgd (cifar10)|signsgd-m (cifar10)|"
    clicked = drawn(rows, tables, claim=[{"row": claim["row"], "cells": claim["cells"]}])
    assert "sgd − signsgd-m = +2.00 [" in clicked
    nothing = drawn(rows, tables)
    assert "sgd − signsgd-m = +2.00 [" not in nothing
    assert clicked.count("cell: sgd (cifar10)") > nothing.count("cell: sgd (cifar10)")
    (opened,) = [
        p["value"][0] for p in explore.page(rows, tables, "test").to_dict()["params"] if "value" in p
    ]
    assert opened["cells"] == "|post-dither alpha=0.1 (cifar10)|signsgd-m (cifar10)|"  # the first with runs
    method = drawn(rows, tables, method=[{"cell": "hybrid (cifar10)"}])
    assert method.count("hybrid (cifar10)") > nothing.count("hybrid (cifar10)")


def test_terminal_shows_the_ledger_or_says_what_to_do(tables: Evidence, tmp_path: Path) -> None:
    call = CliRunner().invoke(app, ["claims", "c", "--results", str(tmp_path)])
    assert call.exit_code == 1
    table.write(ledger(load(), tables), tmp_path / "c" / "partial" / table.LEDGER, digest())
    call = CliRunner().invoke(app, ["claims", "c", "--results", str(tmp_path)])
    lines = call.stdout.splitlines()
    assert lines[0].startswith("Of the paper's claims, ")
    (line,) = [line for line in lines if line.startswith("sign-trails-sgd (cifar10)")]
    assert re.search(r"SignSGD-M trails well-tuned SGD +proxy: supported +\+2\.00 \[.*\] points +8$", line)


def test_terminal_shows_the_ledger_of_a_configuration(
    tables: Evidence, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    file, results = tmp_path / "mine.yaml", ["--results", str(tmp_path)]
    file.write_text(json.dumps(tiny))
    table.write(ledger(load(), tables), tmp_path / "tiny" / table.LEDGER, digest())
    call = CliRunner().invoke(app, ["claims", "-c", str(file), *results])
    assert call.stdout.startswith("Of the paper's claims, ")
    call = CliRunner().invoke(app, ["claims", "-c", str(file), "--set", "campaign=other", *results])
    assert f"{tmp_path}/other/claims.parquet: not found" in call.stderr
    call = CliRunner().invoke(app, ["claims", str(file), *results])
    assert f"{file}: must be the name of a campaign; for its file: claims -c {file}" in call.stderr


def test_job_writes_a_ledger_of_any_name(
    tables: Evidence, rows: list[table.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sign_ablate.claims.evidence.load", lambda *_: tables)
    shown: list[table.Row] = []
    monkeypatch.setattr("sign_ablate.claims.explore.write", lambda found, *_: shown.extend(found))
    job.write(tmp_path, tmp_path / "mine.parquet", tmp_path / "mine.html")
    assert table.read(tmp_path / "mine.parquet") == shown == rows


def test_job_with_a_wrong_file_of_claims_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text("claims: {}\n")
    arguments = ["ledger", "--tables", str(tmp_path), "--claims", str(tmp_path / "claims.yaml")]
    arguments += ["--out", "x", "--page", "y"]
    call = CliRunner().invoke(app, arguments)
    assert call.exit_code == 1
    assert "settings: required, but missing" in call.stderr
    assert "Traceback" not in call.stderr
