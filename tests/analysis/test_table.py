"""Table I as text."""

from pathlib import Path
from typing import Any

import pandas as pd

from sign_ablate.analysis.table import table1, to_csv, to_latex, to_markdown, write
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
    dataset: str, label: str, mean: float | None, high: float | None, n: tuple[int, int]
) -> dict[str, Any]:
    keys = ("dataset", "label", "mean", "ci_high", "n", "n_diverged")
    return dict(zip(keys, (dataset, label, mean, high, *n), strict=True))


SUMMARY = pd.DataFrame(
    [
        row("digits", "sgd", 0.975, 0.98, (3, 0)),
        row("digits", "hybrid t_switch=25", 0.98, 0.99, (3, 1)),
        row("digits", "hybrid t_switch=30", None, None, (3, 3)),
        row("c_10", "sgd", 0.9312, 0.9337, (3, 0)),
        row("c_10", "hybrid t_switch=25", 0.92, None, (1, 0)),
    ]
)


def test_markdown() -> None:
    lines = to_markdown(table1(SUMMARY, CAMPAIGN)).splitlines()
    assert lines[:5] == [
        "| Method | digits: paper | digits: ours | digits: n | c_10: paper | c_10: ours | c_10: n |",
        "|:--|--:|--:|--:|--:|--:|--:|",
        "| sgd | – | 97.50 ± 0.50 | 3 | 91.38 | **93.12 ± 0.25** | 3 |",
        "| hybrid t_switch=25 | – | **98.00 ± 1.00** | 3 (1 diverged) | **92.18** | 92.00 | 1 |",
        "| hybrid t_switch=30 | – | – | 3 (3 diverged) | – | – | 0 |",
    ]
    notes = "\n".join(lines[5:])
    assert "The paper gives no number for digits as configured here." in notes
    assert "With one finished seed there is no interval." in notes
    assert "diverged are counted" in notes
    assert "one run per number" in notes


def test_latex() -> None:
    lines = to_latex(table1(SUMMARY, CAMPAIGN)).splitlines()
    assert lines[1:11] == [
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r" & \multicolumn{3}{c}{digits} & \multicolumn{3}{c}{c\_10} \\",
        r"\cmidrule(lr){2-4} \cmidrule(lr){5-7}",
        r"Method & Paper & Ours & $n$ & Paper & Ours & $n$ \\",
        r"\midrule",
        r"sgd & -- & 97.50 $\pm$ 0.50 & 3 & 91.38 & \textbf{93.12 $\pm$ 0.25} & 3 \\",
        r"hybrid t\_switch=25 & -- & \textbf{98.00 $\pm$ 1.00} & 3 (1 diverged)"
        r" & \textbf{92.18} & 92.00 & 1 \\",
        r"hybrid t\_switch=30 & -- & -- & 3 (3 diverged) & -- & -- & 0 \\",
        r"\bottomrule",
    ]
    assert r"95 \%" in lines[-1]


def test_csv() -> None:
    assert to_csv(table1(SUMMARY, CAMPAIGN)).splitlines() == [
        "dataset,label,paper,mean,half_interval,n,n_diverged",
        "digits,sgd,,97.5000,0.5000,3,0",
        "digits,hybrid t_switch=25,,98.0000,1.0000,3,1",
        "digits,hybrid t_switch=30,,,,3,3",
        "c_10,sgd,91.38,93.1200,0.2500,3,0",
        "c_10,hybrid t_switch=25,92.18,92.0000,,1,0",
        "c_10,hybrid t_switch=30,,,,0,0",
    ]


def test_without_any_number_of_the_paper_its_notes_are_left_out() -> None:
    campaign = make_campaign(methods={"sgd": {"optimizer": "sgd", "lr": 0.1}})
    text = to_markdown(table1(SUMMARY, campaign))
    assert "gives no number for digits" in text
    assert "one run per number" not in text
    assert "**" not in text  # a single row is not the best of anything


def test_write(tmp_path: Path) -> None:
    table = table1(SUMMARY, CAMPAIGN)
    write(table, tmp_path / "new" / "v1.table1")
    assert (tmp_path / "new" / "v1.table1.md").read_text() == to_markdown(table)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"v1.table1.{s}" for s in ("md", "tex", "csv")
    }
