"""Table I as text."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sign_ablate.analysis.schemas import CAMPAIGN as CAMPAIGN_FILE
from sign_ablate.analysis.table import read_campaign, table1, to_csv, to_latex, to_markdown, write
from sign_ablate.store.record import DamagedError
from tests.analysis.conftest import make_campaign

CAMPAIGN = make_campaign(
    datasets={"digits": {"source": "digits"}, "c_10": {"source": "cifar10"}},
    train={"model": "resnet18", "epochs": 50},
    methods={
        "sgd": {"optimizer": "sgd", "lr": 0.1},
        "hybrid": {"optimizer": "hybrid", "lr": 0.001, "t_switch": [25, 30]},
    },
)


def row(
    dataset: str,
    label: str,
    mean: float | None,
    high: float | None,
    n: tuple[int, int],
    spread: float = 0.002,
) -> dict[str, Any]:
    """A row of the summary whose seeds lie within `spread` of the mean."""
    keys = ("dataset", "label", "mean", "ci_high", "lowest", "highest", "n", "n_diverged", "n_damaged")
    ends = (None, None) if mean is None else (mean - spread, mean + spread)
    return dict(zip(keys, (dataset, label, mean, high, *ends, *n, 0), strict=True))


SUMMARY = pd.DataFrame(
    [
        row("digits", "sgd", 0.975, 0.98, (3, 0)),
        row("digits", "hybrid t_switch=25", 0.9, 1.6635, (3, 1), spread=0.085),
        row("digits", "hybrid t_switch=30", None, None, (3, 3)),
        row("c_10", "sgd", 0.9312, 0.9337, (3, 0)),
        row("c_10", "hybrid t_switch=25", 0.92, None, (1, 0), spread=0),
    ]
)


def test_cell_that_is_left_out_on_one_data_set_has_no_number_there_and_a_note() -> None:
    campaign = make_campaign(
        datasets={"digits": {"source": "digits"}, "c_10": {"source": "cifar10"}},
        methods={"sgd": {"optimizer": "sgd"}, "adam": {"optimizer": "adam", "lr": 0.1}},
        tuned={"digits": {"sgd": None}, "c_10": {"sgd": {"lr": 0.1}}},
    )
    text = to_markdown(table1(pd.DataFrame([row("c_10", "sgd", 0.9, 0.92, (3, 0))]), campaign))
    assert "| sgd | – | 0 | 90.00 ± 2.00 | 3 |" in text
    assert "Left out of the evaluation: sgd on digits. No trial of sgd converged" in text


def test_campaign_json_with_a_wrong_value_is_one_line_of_ours(tmp_path: Path) -> None:
    (tmp_path / CAMPAIGN_FILE).write_text(
        CAMPAIGN.model_copy(update={"campaign": "theory"}).model_dump_json()
    )
    with pytest.raises(DamagedError, match=r"campaign\.json: damaged \(campaign: reserved: results/theory"):
        read_campaign(tmp_path)


def test_markdown() -> None:
    lines = to_markdown(table1(SUMMARY, CAMPAIGN)).splitlines()
    assert lines[:5] == [
        "| Method | digits: ours | digits: n | c_10: paper | c_10: ours | c_10: n |",
        "|:--|--:|--:|--:|--:|--:|",
        "| sgd | **97.50 ± 0.50** | 3 | 91.38 | **93.12 ± 0.25** | 3 |",
        "| hybrid t_switch=25 | 90.00 [81.50, 98.50] | 3 (1 diverged) | **92.18** | 92.00 | 1 |",
        "| hybrid t_switch=30 | – | 3 (3 diverged) | – | – | 0 |",
    ]
    notes = "\n".join(lines[5:])
    assert "mean over n seeds ± half of its 95 % t-interval." in notes
    assert "With two finished seeds, the brackets hold their two values" in notes
    assert "The paper gives no number for digits as configured here." in notes
    assert "With one finished seed there is no interval." in notes
    assert "diverged are counted" in notes
    assert "one run per number" in notes


def test_latex() -> None:
    lines = to_latex(table1(SUMMARY, CAMPAIGN)).splitlines()
    assert lines[1:11] == [
        r"\begin{tabular}{lrrrrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{digits} & \multicolumn{3}{c}{c\_10} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-6}",
        r"Method & Ours & $n$ & Paper & Ours & $n$ \\",
        r"\midrule",
        r"sgd & \textbf{97.50 $\pm$ 0.50} & 3 & 91.38 & \textbf{93.12 $\pm$ 0.25} & 3 \\",
        r"hybrid t\_switch=25 & 90.00 [81.50, 98.50] & 3 (1 diverged) & \textbf{92.18} & 92.00 & 1 \\",
        r"hybrid t\_switch=30 & -- & 3 (3 diverged) & -- & -- & 0 \\",
        r"\bottomrule",
    ]
    assert r"95 \%" in lines[-1]


def test_csv() -> None:
    assert to_csv(table1(SUMMARY, CAMPAIGN)).splitlines() == [
        "dataset,label,paper,mean,half_interval,lowest,highest,n,n_diverged",
        "digits,sgd,,97.5000,0.5000,97.3000,97.7000,3,0",
        "digits,hybrid t_switch=25,,90.0000,,81.5000,98.5000,3,1",
        "digits,hybrid t_switch=30,,,,,,3,3",
        "c_10,sgd,91.38,93.1200,0.2500,92.9200,93.3200,3,0",
        "c_10,hybrid t_switch=25,92.18,92.0000,,92.0000,92.0000,1,0",
        "c_10,hybrid t_switch=30,,,,,,0,0",
    ]


def test_without_any_number_of_the_paper_its_notes_are_left_out() -> None:
    campaign = make_campaign(methods={"sgd": {"optimizer": "sgd", "lr": 0.1}})
    text = to_markdown(table1(SUMMARY, campaign))
    assert "paper |" not in text
    assert r"Method & Ours & $n$ \\" in to_latex(table1(SUMMARY, campaign))
    assert "gives no number for digits" in text
    assert "one run per number" not in text
    assert "**" not in text  # a single row is not the best of anything


def test_two_seeds_alone_promise_no_interval() -> None:
    campaign = make_campaign(seeds=[0, 1], methods={"sgd": {"optimizer": "sgd", "lr": 0.1}})
    # 0.80 and 1.00: their t-interval reaches from -37 to 217 %
    text = to_markdown(table1(pd.DataFrame([row("digits", "sgd", 0.9, 2.1706, (2, 0), 0.1)]), campaign))
    assert text.splitlines()[2] == "| sgd | 90.00 [80.00, 100.00] | 2 |"
    assert "±" not in text
    assert "half of its" not in text


def test_runs_of_different_code_are_noted() -> None:
    def notes(*codes: str | None) -> str:
        times = pd.DataFrame({"code": codes, "method": ["sgd", "sgd", "adam"][: len(codes)]})
        return to_markdown(table1(SUMMARY, CAMPAIGN, times))

    assert "different code" not in notes("a", "a", "a")
    assert "different code" not in notes(None, None, None)
    assert "By fingerprint: 2 runs by a, 1 run by b (adam)." in notes("a", "a", "b")
    assert "By fingerprint: 1 run by a, 1 run by unknown code (sgd), 1 run by c (adam)." in notes(
        "a", None, "c"
    )
    assert "different code" in to_latex(
        table1(SUMMARY, CAMPAIGN, pd.DataFrame({"code": ["a", "b"], "method": ["x"] * 2}))
    )


def test_missing_and_damaged_runs_are_noted() -> None:
    assert "Partial: 5 of 18 runs are missing." in to_markdown(table1(SUMMARY, CAMPAIGN))
    damaged = SUMMARY.assign(n_damaged=[0, 0, 0, 0, 2])
    assert "Partial: 5 of 18 runs are missing, 2 of them damaged." in to_markdown(table1(damaged, CAMPAIGN))
    alone = make_campaign(methods={"sgd": {"optimizer": "sgd", "lr": 0.1}})
    assert "Partial" not in to_markdown(table1(SUMMARY[:1], alone))


def test_write(tmp_path: Path) -> None:
    table = table1(SUMMARY, CAMPAIGN)
    write(table, tmp_path / "new" / "v1.table1")
    assert (tmp_path / "new" / "v1.table1.md").read_text() == to_markdown(table)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"v1.table1.{s}" for s in ("md", "tex", "csv")
    }
