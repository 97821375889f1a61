"""The figures, without Jupyter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sign_ablate.analysis import figures, schemas, style
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.config import Campaign
from sign_ablate.config.methods import OPTIMIZERS
from tests.analysis.conftest import METHODS, curve, make_campaign, write_run

MORE: dict[str, Any] = {
    **METHODS,
    "adam": {"optimizer": "adam", "lr": 0.003},
    "signsgd": {"optimizer": "signsgd", "lr": 0.001},
    "post": {"optimizer": "dithered", "site": "post", "alpha": 0.1, "lr": 0.001},
    "naive": {"optimizer": "naive-switch", "lr": 0.001, "t_switch": 3},
}
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


@pytest.fixture
def tables(results: Path, tmp_path: Path) -> Callable[..., Tables]:
    """The tables of a campaign; `special`: method label → accuracies and step of divergence."""

    def make(campaign: Campaign, special: dict[str, tuple[list[float], int | None]] | None = None) -> Tables:
        for i, run in enumerate(expand(campaign)):
            usual = curve(0.9 + 0.001 * (7 * i % 10), run.config.train.epochs or 1), None
            accuracies, diverged = (special or {}).get(run.cell.label, usual)
            write_run(results, run, accuracies, diverged)
        aggregate(campaign, results, tmp_path)
        names = (schemas.EPOCHS, schemas.RUNS, schemas.SUMMARY)
        epochs, runs, summary = (pd.read_parquet(tmp_path / name) for name in names)
        return epochs, runs, summary

    return make


def legend(figure: Figure) -> dict[str, str]:
    (found,) = figure.legends
    lines = zip(found.get_texts(), found.get_lines(), strict=True)
    return {text.get_text(): to_hex(line.get_color()) for text, line in lines}


def marks(figure: Figure) -> dict[str, float]:
    lines = figure.axes[0].get_lines()
    return {
        str(line.get_gid()): line.get_xdata()[0] for line in lines if str(line.get_gid()).startswith("switch")
    }


def test_curves_show_the_cells_that_are_named(tables: Callable[..., Tables]) -> None:
    epochs, runs, _ = tables(make_campaign(methods=MORE))
    figure = figures.dithering(epochs, "digits", runs=runs, cells=["sgd", "naive", "pre-dither alpha=0.1"])
    assert {label.split(" ")[0] for label in legend(figure)} == {"sgd", "naive", "pre-dither"}
    figure = figures.switching(epochs, "digits", runs=runs, cells=["adam", "naive"])
    assert (set(legend(figure)), list(marks(figure).values())) == ({"adam", "naive"}, [3])


def test_dithering_draws_what_the_paper_draws(tables: Callable[..., Tables]) -> None:
    epochs, runs, _ = tables(make_campaign(methods=MORE))
    figure = figures.dithering(epochs, "digits", runs)
    assert list(legend(figure)) == [
        "sgd", "signsgd-m", "pre-dither α=0.1", "pre-dither α=0.5", "adam", "post"
    ]  # fmt: skip
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Test accuracy (%)")
    assert figure.get_suptitle() == "Dithering on digits\nmean and range of 3 seeds"
    partial = (table[(table["label"] != "adam") | (table["seed"] == 0)] for table in (epochs, runs))
    assert (
        figures.dithering(next(partial), "digits", next(partial)).get_suptitle().endswith("of 1 to 3 seeds")
    )
    assert marks(figure) == {}
    (sgd,) = [line for line in axes.get_lines() if to_hex(line.get_color()) == style.COLOURS["sgd"]]
    finals = runs.loc[runs["label"] == "sgd", "final_test_acc"]
    assert sgd.get_ydata()[-1] == pytest.approx(100 * finals.mean())
    assert len(axes.collections) == 6  # a band for each


def test_switching_marks_each_switch(tables: Callable[..., Tables]) -> None:
    epochs, runs, _ = tables(make_campaign(methods=MORE))
    figure = figures.switching(epochs, "digits", runs=runs, title="Mine")
    assert list(legend(figure)) == ["sgd", "signsgd-m", "hybrid T=2", "naive"]
    assert marks(figure) == {"switch-2": 2, "switch-3": 3}
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text[-3:] for text in texts] == ["= 2", "= 3"]
    assert figure.get_suptitle().startswith("Mine\n")
    only = figures.switching(epochs, "digits", 3, runs)
    assert list(legend(only)) == ["sgd", "signsgd-m", "naive"]
    assert marks(only) == {"switch-3": 3}


def test_one_colour_per_method_in_all_figures(tables: Callable[..., Tables]) -> None:
    epochs, runs, summary = tables(make_campaign(methods=MORE))
    first = legend(figures.dithering(epochs, "digits", runs))
    second = legend(figures.switching(epochs, "digits", runs=runs))
    for label in ("sgd", "signsgd-m"):
        assert first[label] == second[label] == style.COLOURS[label]
    forest = figures.accuracy_forest(summary, "digits").axes[0].get_lines()
    assert style.COLOURS["hybrid"] == second["hybrid T=2"]
    assert {style.COLOURS["hybrid"], first["sgd"]} <= {to_hex(line.get_color()) for line in forest}
    assert first["pre-dither α=0.1"] == style.COLOURS["dithered-pre"]
    assert first["pre-dither α=0.5"] != first["pre-dither α=0.1"]


def test_every_optimizer_has_its_own_colour_and_strangers_have_one() -> None:
    kinds = [style.kind(name, site) for name in OPTIMIZERS for site in ("pre", "post")]
    assert set(kinds) == set(style.COLOURS)
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)
    assert style.colour("mine") == style.colour("mine")
    assert style.colour("mine") in style.SPARE


def test_variants_of_a_kind_differ_in_dashes_and_lightness() -> None:
    cells = pd.DataFrame({"label": list("abc"), "optimizer": "dithered", "site": "pre"})
    looks = style.styles(cells)
    assert len({colour for colour, _ in looks.values()}) == 3
    assert len({dashes for _, dashes in looks.values()}) == 3


def test_diverged_runs_are_in_the_legend_and_marked(tables: Callable[..., Tables]) -> None:
    campaign = make_campaign(methods=MORE)
    epochs, runs, summary = tables(campaign, {"post": ([], 1), "adam": ([0.5, 0.91], 30)})
    figure = figures.dithering(epochs, "digits", runs)
    assert {"post (3 of 3 diverged)", "adam (3 of 3 diverged)"} <= set(legend(figure))
    crosses = [line for line in figure.axes[0].get_lines() if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [2, 2, 2]
    texts = [text.get_text() for text in figures.accuracy_forest(summary, "digits").axes[0].texts]
    assert texts == [" no seed finished"] * 2


def test_everything_diverged_at_once(tables: Callable[..., Tables]) -> None:
    campaign = make_campaign(methods={"sgd": METHODS["sgd"]})
    epochs, runs, summary = tables(campaign, {"sgd": ([], 1)})
    assert list(legend(figures.dithering(epochs, "digits", runs))) == ["sgd (3 of 3 diverged)"]
    assert figures.accuracy_forest(summary, "digits").axes


def test_two_seeds_are_drawn_as_their_range(tables: Callable[..., Tables]) -> None:
    _, runs, summary = tables(make_campaign(seeds=[0, 1]))
    figure = figures.accuracy_forest(summary, "digits")
    assert figure.get_suptitle() == "Last epoch on digits\nmean and range of 2 seeds"
    values = sorted(100 * runs.loc[runs["label"] == "sgd", "final_test_acc"])
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == values
    one_diverged = summary.assign(n=[3] * 5, n_diverged=[1, 0, 0, 0, 0])
    said = figures.accuracy_forest(one_diverged, "digits").get_suptitle()
    assert said == "Last epoch on digits\nmean and 95 % t-interval of 3 seeds (of two: range)"


def test_band_is_not_cut_off_at_the_top(tables: Callable[..., Tables]) -> None:
    epochs, runs, _ = tables(make_campaign(seeds=[0, 1]))
    epochs = epochs.assign(test_acc=0.99 * (epochs["seed"] == 1) + 0.5 * (epochs["seed"] == 0))
    assert figures.dithering(epochs, "digits", runs).axes[0].get_ylim()[1] > 99
    epochs = epochs.assign(test_acc=1.0 * (epochs["seed"] == 1))
    assert 100 < figures.dithering(epochs, "digits", runs).axes[0].get_ylim()[1] < 103


def test_one_seed_has_no_band_and_says_so(tables: Callable[..., Tables]) -> None:
    epochs, runs, summary = tables(make_campaign(seeds=[0]))
    figure = figures.dithering(epochs, "digits", runs)
    assert "one seed: no range" in figure.get_suptitle()
    assert "one seed: no 95 % t-interval" in figures.accuracy_forest(summary, "digits").get_suptitle()


def test_a_method_that_fails_leaves_the_axis_but_not_the_legend(tables: Callable[..., Tables]) -> None:
    epochs, runs, summary = tables(make_campaign(methods=MORE), {"adam": ([0.1] * 4, None)})
    figure = figures.dithering(epochs, "digits", runs)
    assert figure.axes[0].get_ylim()[0] > 50
    assert "adam (ends at 10.0 %)" in legend(figure)
    assert [text.get_text() for text in figures.accuracy_forest(summary, "digits").axes[0].texts] == [
        " ← 10.0 %"
    ]


def test_band_is_the_range_of_the_seeds(tables: Callable[..., Tables]) -> None:
    epochs, runs, _ = tables(make_campaign())
    last = figures.bands(epochs).query("epoch == 4").set_index("label")
    finals = runs.groupby("label")["final_test_acc"]
    for column, expected in (("low", finals.min()), ("mean", finals.mean()), ("high", finals.max())):
        np.testing.assert_allclose(last[column], 100 * expected.loc[last.index])
    assert (last["low"] < last["high"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("val", [None, 0.5])
def test_a_sweep_of_twenty_settings(results: Path, tmp_path: Path, val: float | None) -> None:
    rates = [round(0.01 * i, 2) for i in range(1, 21)]
    campaign = make_campaign(methods={"sgd": {"optimizer": "sgd", "lr": rates}})
    for run in expand(campaign):
        # on validation data 0.07 is best, on the test set 0.2
        chosen = val and val - abs(run.config.method.lr - 0.07)
        write_run(results, run, curve(0.7 + run.config.method.lr, 4), val=chosen)
    aggregate(campaign, results, tmp_path)
    epochs, runs = (pd.read_parquet(tmp_path / name) for name in (schemas.EPOCHS, schemas.RUNS))
    figure = figures.dithering(epochs, "digits", runs)
    style.save(figure, tmp_path / "figure")
    if val is None:
        assert len(legend(figure)) == 20
        assert "no validation data to choose on" in figure.get_suptitle()
    else:
        assert [name.split(" (")[0] for name in legend(figure)] == ["sgd lr=0.07"]
        assert "best on validation data (1 of 20)" in figure.get_suptitle()


@pytest.mark.slow
def test_saved_files_are_the_same_bytes(tables: Callable[..., Tables], tmp_path: Path) -> None:
    epochs, runs, _ = tables(make_campaign())
    for stem in ("a/figure1", "b/figure1"):
        style.save(figures.switching(epochs, "digits", runs=runs), tmp_path / stem)
    for suffix in ("svg", "png", "pdf"):
        first = (tmp_path / f"a/figure1.{suffix}").read_bytes()
        assert len(first) > 1000
        assert first == (tmp_path / f"b/figure1.{suffix}").read_bytes()
    assert b"dc:date" not in (tmp_path / "a/figure1.svg").read_bytes()


def test_a_data_set_that_is_not_there(tables: Callable[..., Tables]) -> None:
    epochs, runs, summary = tables(make_campaign())
    with pytest.raises(ValueError, match="cifar"):
        figures.dithering(epochs, "cifar", runs)
    with pytest.raises(ValueError, match="cifar"):
        figures.accuracy_forest(summary, "cifar")
