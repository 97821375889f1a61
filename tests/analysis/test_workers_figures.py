"""Figures of several workers: what is on their axes, and the notebooks that draw them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from sign_ablate.analysis import schemas, workers
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.analysis.notebook import execute
from sign_ablate.campaign.grid import expand
from sign_ablate.config.campaign import Campaign
from tests.analysis.conftest import make_campaign
from tests.conftest import ROOT

VOTE: dict[str, Any] = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "aggregation": "vote"}
SHARES = [0.1875, 0.4375]


def campaign(**changes: Any) -> Campaign:
    return make_campaign(
        **changes,
        train={"epochs": 4, "batch_size": 64},
        methods={
            "mean": {"optimizer": "sgd", "lr": 0.1, "workers": [1, 16]},
            "vote": {**VOTE, "workers": [1, 4, 16]},
            "alone": {**VOTE, "batch_size": [16, 4]},
            "inverted-vote": {**VOTE, "workers": 16, "adversaries": SHARES},
        },
    )


def summary(of: Campaign, **means: float) -> pd.DataFrame:
    """Rows of summary.parquet with 5 seeds and intervals of ± 1 point; 0.9 where `means` has no other."""
    rows = []
    for label in dict.fromkeys(run.cell.label for run in expand(of)):
        mean = means.get(label.split(" ")[0], 0.9)
        rows.append(
            {
                "dataset": "digits", "label": label, "n": 5, "n_diverged": 5 if math.isnan(mean) else 0,
                "mean": mean, "ci_low": mean - 0.01, "ci_high": mean + 0.01, "lowest": 0.0, "highest": 1.0,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Positions and heights of the lines with points."""
    drawn = [line for line in axes.lines if line.get_marker() == "o"]
    return [(list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata()))) for line in drawn]


def legend(axes: Axes) -> list[str]:
    figure = axes.get_figure()
    assert figure is not None
    return [text.get_text() for text in figure.legends[0].get_texts()]  # type: ignore[union-attr]


def test_workers_are_powers_of_two_and_one_alone_stands_at_its_share_of_the_batch() -> None:
    of = campaign()
    figure = workers.accuracy_by_workers(summary(of, mean=0.995, alone=0.5), of, "digits")
    axes = figure.axes[0]
    assert legend(axes) == ["mean", "vote", "alone: one worker with B/W images"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16"]
    places = [[round(math.log2(x) / 2) for x in xs] for xs, _ in lines(axes)]  # dodged by less than a step
    assert places == [[0, 2], [0, 1, 2], [1, 2]]
    assert [ys for _, ys in lines(axes)] == [[99.5, 99.5], [90, 90, 90], [50, 50]]
    assert axes.get_ylim()[1] < 102
    ends = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]  # type: ignore[attr-defined]
    assert ends[0] == pytest.approx([98.5, 100.5])
    title = figure.get_suptitle()
    assert title.endswith("mean and 95 % t-interval of 5 seeds; chance: 10 %")


def test_adversaries_begin_at_the_cell_that_has_none() -> None:
    of = campaign()
    table = summary(of, vote=0.95)
    axes = workers.accuracy_by_adversaries(table, of, "digits").axes[0]
    ((places, heights),) = lines(axes)
    assert heights == [95, 90, 90]
    assert places == pytest.approx([0, 18.75, 43.75])
    assert axes.get_xlabel() == "Share of 16 workers that invert their gradient (%)"


def test_chance_is_drawn_near_it_and_lost_cells_have_a_cross() -> None:
    of = campaign()
    table = summary(of, vote=0.2)
    table.loc[table["label"] == "inverted-vote adversaries=0.4375", ["mean", "n_diverged"]] = [math.nan, 5]
    axes = workers.accuracy_by_adversaries(table, of, "digits").axes[0]
    assert [text.get_text() for text in axes.texts] == ["chance", "half"]
    assert legend(axes) == ["inverted-vote (5 of 15 diverged)"]
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(np.asarray(cross.get_xdata())) == 1


def test_figures_need_an_axis() -> None:
    of = make_campaign()
    for draw, what in (
        (workers.accuracy_by_workers, "numbers of workers"),
        (workers.accuracy_by_adversaries, "shares of adversaries"),
    ):
        with pytest.raises(ValueError, match=f"no method on 'digits' has several {what}"):
            draw(summary(of), of, "digits")


def test_cells_that_are_named_are_shown_alone() -> None:
    of = campaign()
    shown = ["vote workers=1", "vote workers=16", "alone batch_size=4", "mean workers=1"]
    axes = workers.accuracy_by_workers(summary(of), of, "digits", shown=shown).axes[0]
    assert [len(places) for places, _ in lines(axes)] == [2]
    shares = [f"inverted-vote adversaries={share}" for share in SHARES]
    axes = workers.accuracy_by_adversaries(summary(of), of, "digits", shown=shares).axes[0]
    assert [places for places, _ in lines(axes)] == [pytest.approx([100 * share for share in SHARES])]


def test_notebooks_draw_from_the_tables(results: Path, write_all: Callable[[Campaign], None]) -> None:
    of = campaign(seeds=[0])
    write_all(of)
    folder = results / "test"
    aggregate(of, results, folder)
    for kind in ("workers", "adversaries"):
        given = {"epochs": str(folder / schemas.EPOCHS), "dataset": "digits", "out": str(folder / kind)}
        given["cells"] = json.dumps([run.cell.label for run in expand(of)])
        execute(ROOT / f"notebooks/{kind}.ipynb", folder / f"{kind}.ipynb", given)
        assert (folder / f"{kind}.svg").stat().st_size > 0
