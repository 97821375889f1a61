"""Pages and the picture that are made from exported ledgers, of one campaign or of several."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from sign_ablate.analysis import schemas
from sign_ablate.claims import merge, page, table
from sign_ablate.claims.ledger import ledger
from sign_ablate.claims.model import digest, load
from sign_ablate.claims.picture import first_screen
from sign_ablate.cli import app
from sign_ablate.store.layout import reference_folder
from sign_ablate.terminal.claims import NoLedgerError
from sign_ablate.terminal.pages import draw, filled
from tests.claims.conftest import evidence

#: campaign → source of its data, and accuracies of its arms
CAMPAIGNS = {
    "ten": ("cifar10", {"sgd": [91.0, 91.2, 91.1], "signsgd-m": [89.0, 89.1, 89.3]}),
    "hundred": ("cifar100", {"sgd": [60.0, 60.2, 60.1], "signsgd-m": [61.0, 61.3, 61.1]}),
    "again": ("cifar10", {"sgd": [80.0, 80.2, 80.1], "signsgd-m": [80.1, 80.4, 80.2]}),
}
PAGE = "# Verdicts\n\n<!-- verdicts: ten hundred -->\nold text\n<!-- end -->\n\nProse.\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for name, (source, arms) in CAMPAIGNS.items():
        found = evidence(arms, datasets={source: {"source": source}}, train={"model": "small", "epochs": 1})
        table.write(ledger(load(), found), reference_folder(folder) / name / table.LEDGER, digest())
    return folder


@pytest.fixture(scope="module")
def ledgers(results: Path) -> dict[str, list[table.Row]]:
    return {name: table.read(reference_folder(results) / name) for name in CAMPAIGNS}


def test_merged_ledger_takes_each_data_set_from_the_first_campaign_that_has_it(
    ledgers: dict[str, list[table.Row]],
) -> None:
    rows = merge.merged(ledgers)
    assert list(dict.fromkeys(row["claim"] for row in rows)) == list(load().claims)
    found = [(row["dataset"], row["campaign"]) for row in rows if row["claim"] == "sign-trails-sgd"]
    assert found == [("cifar10", "ten"), ("cifar100", "hundred")]
    for claim, campaign in (
        ("control-swats-rule", "ten"),
        ("table-cifar100-sgd", "hundred"),  # the first with data for it
    ):
        (missing,) = [row for row in rows if row["claim"] == claim]
        assert (missing["campaign"], missing["verdict"]) == (campaign, "not measured")


def test_page_of_trained_runs_leaves_out_what_none_decides(results: Path) -> None:
    text = filled(PAGE.replace("verdicts:", "trained:"), reference_folder(results))
    titles = re.findall(r"^\| (\w[^|]*?)<br>\*(\w+), \w+\*", text, re.MULTILINE)
    assert len(titles) == text.count("\n| ") - 2 * text.count("\n| Claim") > 0  # without the heads
    assert {dataset for _, dataset in titles} == {"cifar10", "cifar100"}
    assert "not measured**" not in text


def test_page_has_the_verdicts_of_its_campaigns_and_keeps_its_prose(results: Path) -> None:
    text = filled(PAGE, reference_folder(results))
    assert text.startswith("# Verdicts\n\n<!-- verdicts: ten hundred -->\n")
    assert text.endswith("<!-- end -->\n\nProse.\n")
    assert "old text" not in text
    rows = [line for line in text.splitlines() if line.startswith("| SignSGD-M trails well-tuned SGD")]
    whole = [row.replace("\N{NO-BREAK SPACE}", " ") for row in rows]
    assert "<br>*cifar10, ten* | proxy:<br>**supported** | +1.97 [" in whole[0]
    assert "<br>*cifar100, hundred* | proxy:<br>**refuted** | −1.03 [" in whole[1]
    assert "] points<br>sgd − signsgd-m<br>n = 3 | " in whole[1]
    assert filled(text, reference_folder(results)) == text


def test_sentence_of_several_campaigns_and_of_one_that_is_missing(results: Path) -> None:
    text = filled("<!-- sentence: ten hundred later -->\n<!-- end -->\n", reference_folder(results))
    assert (
        "These campaigns are proxies of the paper's setting (epochs: 1, network: small) and decide "
        "nothing about it; for themselves, of 2 verdicts on 1 claim, one per data set, 1 is supported and 1 "
        "is refuted."
    ) in text
    assert text.endswith("*Not exported yet: later.*\n\n<!-- end -->\n")


def test_campaign_with_missing_runs_is_called_partial(results: Path, tmp_path: Path) -> None:
    folder = reference_folder(tmp_path) / "ten"
    shutil.copytree(reference_folder(results) / "ten", folder)
    campaign = evidence(CAMPAIGNS["ten"][1]).campaign  # two arms with three seeds
    (folder / schemas.CAMPAIGN).write_text(campaign.model_dump_json(exclude_unset=True))
    for finished, line in ((5, "*ten is partial: 1 of 6 runs is missing.*\n\n"), (6, "")):
        pd.DataFrame({"n": [3, finished - 3], "n_damaged": [0, 0]}).to_parquet(folder / schemas.SUMMARY)
        text = filled(PAGE, reference_folder(tmp_path))
        assert text.count("is partial") == bool(line)
        assert text.endswith(f"{line}*Not exported yet: hundred.*\n\n<!-- end -->\n\nProse.\n")


def test_claim_on_two_data_sets_counts_once(ledgers: dict[str, list[table.Row]]) -> None:
    one, two = (
        page.sentence(merge.merged({name: ledgers[name] for name in names}))
        for names in (["ten"], ["ten", "hundred"])
    )
    number = [sum(map(int, re.findall(r"(\d+) (?:is|are)", text.split(". ")[0]))) for text in (one, two)]
    assert "This campaign is a proxy" in one
    row = next(row for row in ledgers["ten"] if row["proxy_verdict"])
    both = [{**row, "proxy": f"data: {data}, not tuned"} for data in ("cifar10", "cifar100")]
    assert "(data: cifar10 and cifar100, not tuned)" in page.sentence(both)
    assert "(data: cifar10 and cifar100, not tuned in some)" in page.sentence(
        [{**row, "proxy": "data: cifar10"}, both[1]]
    )
    paper = [claim for claim in load().claims.values() if not claim.ours]
    assert number == [len(paper)] * 2


def test_page_leaves_out_empty_columns_and_a_reading_that_the_remark_has(
    ledgers: dict[str, list[table.Row]],
) -> None:
    row = next(row for row in merge.merged(ledgers) if row["claim"] == "sign-trails-sgd")
    read = {**row, "reading": "literal", "reason": "refuted in the reading literal, but"}
    assert merge.to_markdown([read]).endswith("<br>n = 3 | refuted in the reading literal, but |")
    head, _, cells = merge.to_markdown([{**row, "effect": None, "n": None}]).splitlines()[2:]
    assert head == "| Claim | Verdict |"
    assert cells.endswith("<br>*cifar10, ten* | proxy:<br>**supported** |")


def test_picture_shows_the_measured_claims_alone(ledgers: dict[str, list[table.Row]], results: Path) -> None:
    rows = merge.merged(ledgers)
    small = [{**row, "reason": "1 of 3 seeds diverged; by less than the margin"} for row in rows]
    assert "proxy: supported, small" in [t.get_text() for t in first_screen(small, "").axes[0].texts]
    figure = first_screen(rows, "A sentence.")
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "proxy: supported" in words
    assert words[0] == "A sentence."
    assert "SignSGD-M trails well-tuned SGD (cifar100)" in words
    assert "proxy: refuted" in words
    assert not any("projects the sign step" in text for text in words)
    out = results / "picture.png"
    call = CliRunner().invoke(app, ["picture", "ten", "--out", str(out), "--results", str(results)])
    assert call.exit_code == 0, call.output
    assert imread(out).shape[1] > 1000
    with pytest.raises(NoLedgerError, match="no ledger of later; sign-ablate export writes it"):
        draw(["later"], results, out)
