"""Pages and the picture that are made from exported ledgers, of one campaign or of several."""

from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from sign_ablate.claims import merge, table
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
    (missing,) = [row for row in rows if row["claim"] == "control-swats-rule"]
    assert (missing["campaign"], missing["verdict"]) == ("ten", "not measured")
    (below,) = [row for row in rows if row["claim"] == "switch-below-sgd"]
    assert (below["campaign"], below["verdict"]) == ("ten", "not measured")


def test_page_has_the_verdicts_of_its_campaigns_and_keeps_its_prose(results: Path) -> None:
    text = filled(PAGE, reference_folder(results))
    assert text.startswith("# Verdicts\n\n<!-- verdicts: ten hundred -->\n")
    assert text.endswith("<!-- end -->\n\nProse.\n")
    assert "old text" not in text
    rows = [line for line in text.splitlines() if line.startswith("| SignSGD-M trails well-tuned SGD")]
    assert "(cifar10, ten) | proxy: **supported** | +1.97 [" in rows[0]
    assert "(cifar100, hundred) | proxy: **refuted** | −1.03 [" in rows[1]
    assert filled(text, reference_folder(results)) == text


def test_sentence_of_several_campaigns_and_of_one_that_is_missing(results: Path) -> None:
    page = "<!-- sentence: ten hundred later -->\n<!-- end -->\n"
    text = filled(page, reference_folder(results))
    assert "These campaigns are proxies of the paper's setting (" in text
    assert text.endswith("*Not exported yet: later.*\n\n<!-- end -->\n")


def test_picture_shows_the_measured_claims_alone(ledgers: dict[str, list[table.Row]], results: Path) -> None:
    figure = first_screen(merge.merged(ledgers), "A sentence.")
    words = [text.get_text() for text in figure.axes[0].texts]
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
