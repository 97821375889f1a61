"""Figures of the search, and the figures that compare cells."""

import numpy as np
import pandas as pd
import pytest

from sign_ablate.analysis import comparisons, tuning
from sign_ablate.config import parse_campaign
from sign_ablate.config.tuning import Choice, Trial

CAMPAIGN = parse_campaign(
    {
        "campaign": "toy",
        "seeds": [0],
        "datasets": {"toy": {"source": "synthetic"}},
        "train": {"epochs": 1},
        "methods": {"sgd": {"optimizer": "sgd"}, "signsgd-m": {"optimizer": "signsgd-m"}},
        "tuning": {
            "val": 32,
            "trials": 4,
            "spaces": {"sgd": {"lr": [0.01, 1]}, "signsgd-m": {"lr": [1e-4, 1e-2]}},
        },
    }
)


def choice(low: float, high: float, scores: list[float | None]) -> Choice:
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(low * 1.1, high / 1.1, len(scores))]
    trials = tuple(
        Trial(values={"lr": rate}, run="r", val_acc=score) for rate, score in zip(rates, scores, strict=True)
    )
    best = max(trials, key=lambda trial: trial.val_acc or 0)
    return Choice(
        search="h", values=best.values, val_acc=best.val_acc or 0, ranges={"lr": (low, high)}, trials=trials
    )


CHOICES = {
    "sgd": choice(0.01, 1, [0.2, 0.6, 0.9, None]),
    "signsgd-m": choice(1e-4, 1e-2, [0.7, 0.85, 0.8, 0.3]),
}


def test_budget_curves_end_at_the_choice_and_never_fall() -> None:
    axes = tuning.budget_curves(CHOICES, CAMPAIGN, "t").axes[0]
    curves = [np.asarray(line.get_ydata()) for line in axes.lines]
    assert [curve[-1] for curve in curves] == pytest.approx([90, 85])
    assert [curve[0] for curve in curves] == pytest.approx([100 * (0.2 + 0.6 + 0.9) / 4, 100 * 2.65 / 4])
    assert all(np.all(np.diff(curve) >= 0) for curve in curves)


def test_cell_far_below_the_others_does_not_set_the_scale() -> None:
    far = {"sgd": CHOICES["sgd"], "signsgd-m": choice(1e-4, 1e-2, [0.2, 0.3, 0.443, 0.1])}
    figure = tuning.budget_curves(far, CAMPAIGN, "t")
    assert figure.axes[0].get_ylim() == pytest.approx((80, 91))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "sgd",
        "signsgd-m (ends at 44.3 %)",
    ]
    panels = tuning.sensitivity(far, CAMPAIGN, "t").axes
    assert [panel.get_ylim()[0] for panel in panels[:2]] == pytest.approx([80, 34.3])


def test_sensitivity_shows_every_trial_and_fills_the_choice() -> None:
    figure = tuning.sensitivity(CHOICES, CAMPAIGN, "t")
    assert "filled: chosen" in figure.get_suptitle()
    panels = figure.axes[:2]
    for panel, (label, chosen) in zip(panels, CHOICES.items(), strict=True):
        assert panel.get_title() == label
        assert len(panel.lines) == 4
        full = [line for line in panel.lines if line.get_fillstyle() == "full"]
        assert [line.get_xdata()[0] for line in full] == [chosen.values["lr"]]
    markers = [line.get_marker() for line in panels[0].lines]
    assert markers == ["v", "v", "o", "x"]  # the axis begins 10 points below the choice


def test_cell_whose_trials_all_diverged_has_crosses_only() -> None:
    trials = tuple(Trial(values={"lr": rate}, run="r", val_acc=None) for rate in (0.001, 0.002))
    none = Choice(search="h", values=None, val_acc=None, ranges={"lr": (1e-4, 1e-2)}, trials=trials)
    panels = tuning.sensitivity({**CHOICES, "signsgd-m": none}, CAMPAIGN, "t").axes
    assert [line.get_marker() for line in panels[1].lines] == ["x", "x"]
    assert panels[0].get_ylim()[0] == pytest.approx(80)  # set by the cell with a choice
    tuning.budget_curves({"signsgd-m": none}, CAMPAIGN, "t")


def runs() -> pd.DataFrame:
    rows = []
    for method, optimizer, alpha, site in (
        ("clean", "signsgd-m", None, None),
        ("pre", "dithered", 0.01, "pre"),
        ("pre", "dithered", 1.0, "pre"),
    ):
        for lr in (0.001, 0.01):
            for seed in (0, 1, 2):
                label = f"{method} lr={lr:g}" if alpha is None else f"{method} alpha={alpha:g} lr={lr:g}"
                acc = (
                    0.5
                    + 10 * lr
                    + (0 if alpha is None else alpha / 10)
                    + seed / 100
                    + (lr * seed if alpha else 0)
                )
                rows.append(
                    {
                        "dataset": "toy", "method": method, "label": label,
                        "optimizer": optimizer, "site": site,
                        "alpha": alpha, "lr0": lr, "seed": seed, "status": "finished", "final_test_acc": acc,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_differences_are_paired_by_seed_and_in_points() -> None:
    labels = ["pre alpha=1 lr=0.01", "clean lr=0.01"]
    axes = comparisons.differences(runs(), "toy", "clean lr=0.001", labels).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["pre α=1 lr=0.01", "clean lr=0.01"]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx([100 * (0.09 + 0.1 + 0.01), 9])
    ends = [
        line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() != "o"
    ]
    half = 4.302653 * 1.0 / np.sqrt(3)  # t of 2 degrees of freedom; the differences are 19, 20, 21
    assert ends[1] == pytest.approx([20 - half, 20 + half], abs=1e-4)


def test_differences_of_one_seed_name_no_interval() -> None:
    title = comparisons.differences(runs()[lambda t: t["seed"] == 0], "toy", "clean lr=0.001").get_suptitle()
    assert title.endswith("one seed: no intervals")
    assert comparisons.differences(runs(), "toy", "clean lr=0.001").get_suptitle().endswith(", 3 seeds")


def test_titles_have_the_range_of_numbers_of_seeds() -> None:
    partial = runs()[lambda t: (t["seed"] == 0) | t["label"].str.startswith("clean")]
    assert comparisons.differences(partial, "toy", "clean lr=0.001").get_suptitle().endswith("1 to 3 seeds")
    assert comparisons.phase_diagram(partial, "toy").get_suptitle().endswith("of 1 to 3 seeds")


def test_differences_without_a_cell_to_compare() -> None:
    with pytest.raises(ValueError, match="no run to compare"):
        comparisons.differences(runs(), "other", "clean lr=0.001")


def test_phase_diagram_has_the_mean_of_every_cell_and_the_clean_column() -> None:
    figure = comparisons.phase_diagram(runs(), "toy")
    assert figure.get_suptitle().endswith("mean test accuracy (%) of 3 seeds")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.1", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.001", "0.01"]
    values = [float(text.get_text()) for text in axes.texts]
    assert values == pytest.approx([52, 52.2, 62.1, 61, 62.1, 72.0], abs=0.051)
    assert axes.get_xlabel() == "σ at step 0 (0: no dither)"
    (method,) = {name for name in runs()["method"] if name != "clean"}
    other = comparisons.phase_diagram(runs(), "toy", relative=[method]).axes[0]
    assert other.get_xlabel() == "σ / rms(m) at step 0 (0: no dither)"


def test_phase_diagram_needs_two_axes() -> None:
    one = runs()[lambda t: t["lr0"] == 0.01]
    with pytest.raises(ValueError, match="several alpha and lr"):
        comparisons.phase_diagram(one, "toy")
