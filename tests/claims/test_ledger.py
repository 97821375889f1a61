"""Verdicts on hand-made tables: every comparison, readings, margins, and data that are missing or bad."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.ledger import Row, ledger
from sign_ablate.claims.model import digest, load
from sign_ablate.claims.statistics import with_new_images
from sign_ablate.claims.table import LEDGER_SCHEMA, write
from tests.claims.conftest import Arms, campaign, claims_of, evidence

#: eight seeds with a standard deviation of 0.2
NOISE = 0.2 * np.array([-1.2, -0.9, -0.5, -0.1, 0.2, 0.5, 0.8, 1.2])


def seeds(mean: float, order: int = 1) -> list[float]:
    """Accuracies whose differences from those of another mean are nearly, and not exactly, equal."""
    return list(mean + NOISE[::order] + 1e-3 * np.cos(np.arange(8) * np.pi / 4 + mean))


def one(test: str, tables: Evidence, **changes: str) -> Row:
    (row,) = ledger(claims_of(test, **changes), tables)
    return row


def against(clean: float, **arms: list[float]) -> Arms:
    """Clean SignSGD-M, whose noise has the reverse order, and other arms."""
    return {"signsgd-m": seeds(clean, -1), **arms}


def doses(low: float, middle: float, high: float) -> Arms:
    """Post-sign dither with three α."""
    means = {"0.01": low, "0.1": middle, "0.5": high}
    return {f"post-dither alpha={alpha}": seeds(mean) for alpha, mean in means.items()}


def factorial(both: float, switch: float, dither: float, neither: float) -> Arms:
    """Dither × switch."""
    labels = ["dithered-hybrid alpha=0.1", "hybrid", "pre-dither alpha=0.1", "signsgd-m"]
    means = (both, switch, dither, neither)
    return {
        label: seeds(m, -1 if i % 2 else 1) for i, (label, m) in enumerate(zip(labels, means, strict=True))
    }


def two_gaps(arm: float, reference: float, later_arm: float, later_reference: float) -> Arms:
    """Two pairs of arms."""
    labels = ["signsgd-m", "sgd", "hybrid", "post-dither alpha=0.1"]
    means = (arm, reference, later_arm, later_reference)
    return {label: seeds(m, 1 - 2 * (i % 2)) for i, (label, m) in enumerate(zip(labels, means, strict=True))}


def gap(**arms: list[float]) -> Arms:
    """A gap from 66 to 77, with further arms."""
    return {"signsgd-m": seeds(66), "sgd": seeds(77), **arms}


GREATER = "{comparison: greater, arm: sgd, over: clean, margin: one}"
SAME = "{comparison: same, arm: sgd, reference: clean, margin: one}"
ORDERING = "{comparison: ordering, order: [hybrid, sgd, clean], margin: one}"
TREND = "{comparison: trend, order: [post-0.01, post-0.1, post-0.5], margin: one}"
INTERACTION = (
    "{comparison: interaction, both: both, first: hybrid, second: dither, neither: clean, margin: one}"
)
NOT_WORSE = "{comparison: not-worse, arm: sgd, reference: clean, margin: one}"
NARROWS = "{comparison: narrows, arm: [clean, hybrid], reference: [sgd, post-0.1], margin: one}"
CLOSES = "{comparison: closes, arm: hybrid, floor: clean, ceiling: sgd, others: [post-0.1], margin: one}"
VALUE = "{comparison: value, arm: sgd, value: 91.38, margin: one}"

#: comparison, arms, verdict, effect
CASES: dict[str, tuple[str, Arms, str, float]] = {
    "greater": (GREATER, against(90, sgd=seeds(92)), "supported", 2.0),
    "not greater": (GREATER, against(92, sgd=seeds(90)), "refuted", -2.0),
    "greater, with large noise": (GREATER, against(91, sgd=list(92 + 9 * NOISE)), "unresolved", 1.0),
    "greater than all but one": (
        GREATER.replace("clean", "[clean, hybrid]"),
        against(90, sgd=seeds(92), hybrid=seeds(93)),
        "refuted",
        -1.0,
    ),
    "same": (SAME, against(90.8, sgd=seeds(91)), "supported", 0.2),
    "not the same": (SAME, against(90, sgd=seeds(93)), "refuted", 3.0),
    "ordering": (ORDERING, against(91, sgd=seeds(92), hybrid=seeds(93)), "supported", 1.0),
    "ordering that ends wrong": (ORDERING, against(91, sgd=seeds(90), hybrid=seeds(93)), "refuted", -1.0),
    "trend": (TREND, doses(92, 91, 90), "supported", 2.0),
    "no trend": (TREND, doses(91, 91, 91) | {"post-dither alpha=0.5": seeds(91, -1)}, "refuted", 0.0),
    "no interaction": (INTERACTION, factorial(90, 91, 89, 90), "supported", 0.0),
    "interaction": (INTERACTION, factorial(86, 91, 89, 90), "refuted", -4.0),
    "both changes are better than their sum": (INTERACTION, factorial(94, 91, 89, 90), "supported", 4.0),
    "not worse": (NOT_WORSE, against(90, sgd=seeds(89.7)), "supported", -0.3),
    "better, and so not worse": (NOT_WORSE, against(90, sgd=seeds(95)), "supported", 5.0),
    "worse": (NOT_WORSE, against(90, sgd=seeds(88)), "refuted", -2.0),
    # gaps of 4 and 1, and of 4 and 6
    "narrows": (NARROWS, two_gaps(88, 92, 93, 94), "supported", 3.0),
    "widens": (NARROWS, two_gaps(88, 92, 88, 94), "refuted", -2.0),
    "closes": (
        CLOSES,
        gap(hybrid=seeds(75), **{"post-dither alpha=0.1": seeds(67)}),
        "supported",
        3.5,
    ),
    "closes as others do": (
        CLOSES,
        gap(hybrid=seeds(75), **{"post-dither alpha=0.1": seeds(76)}),
        "refuted",
        -4.5,
    ),
    "closes no gap": (
        CLOSES.replace(", others: [post-0.1]", ""),
        {"signsgd-m": seeds(75), "sgd": seeds(70, -1), "hybrid": seeds(74)},
        "unresolved",
        -5.0,
    ),
    "value": (VALUE, {"sgd": seeds(91.4)}, "supported", 0.02),
    "other value": (VALUE, {"sgd": seeds(95)}, "refuted", 3.62),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_and_effect(name: str) -> None:
    test, arms, verdict, effect = CASES[name]
    row = one(test, evidence(arms))
    assert row.verdict == verdict
    assert row.outcome.effect is not None
    assert row.outcome.effect.mean == pytest.approx(effect)
    assert row.outcome.effect.n == 8


def curves(start: float, final: float, noise: float = 0.0) -> list[list[float]]:
    """Ten epochs that rise linearly and, with `noise`, go up and down in turn; seeds differ a little."""
    return [
        [start + (final - start) * i / 9 + noise * (-1) ** i + shift for i in range(10)]
        for shift in NOISE / 10 + 1e-3 * np.cos(np.arange(8) * np.pi / 4 + final)
    ]


def test_first_passage_in_epochs_with_the_papers_threshold_or_a_share_of_the_reference() -> None:
    test = (
        "{comparison: first-passage, arm: hybrid, reference: sgd, threshold: 0.5, share: 0.9, margin: share}"
    )
    arms = {"hybrid": curves(35, 80), "sgd": curves(10, 91)}
    paper = one(test, evidence(arms))
    # 50 %: after 3 epochs at 35 + 5i, and after 5 at 10 + 9i, give or take the seed's shift
    assert (paper.verdict, paper.outcome.reason) == ("supported", "threshold 50.0 %")
    assert paper.outcome.effect is not None
    assert paper.outcome.effect.mean == pytest.approx(1.5)
    assert paper.outcome.margin == pytest.approx(1.0)  # a tenth of ten epochs
    proxy = one(test, evidence(arms, train={"model": "small", "epochs": 10}))
    assert proxy.outcome.reason.endswith("threshold 81.9 %")
    tuned = {"cifar10": {"sgd": {"val_acc": 0.5, "at_edge": []}}}
    known = one(test, evidence(arms, {"tuned": tuned}, train={"model": "small", "epochs": 10}))
    assert known.outcome.reason.endswith("threshold 45.0 %")


def test_first_passage_is_unresolved_where_neither_gets_there() -> None:
    test = (
        "{comparison: first-passage, arm: hybrid, reference: sgd, threshold: 0.99, share: 0.9, margin: share}"
    )
    row = one(test, evidence({"hybrid": curves(35, 80), "sgd": curves(10, 91)}))
    assert row.verdict == "unresolved"
    assert row.outcome.reason == "no arm reaches the threshold of 99.0 % with 8 of the seeds"


def test_first_passage_that_is_the_same_in_all_seeds_is_unresolved() -> None:
    test = (
        "{comparison: first-passage, arm: hybrid, reference: sgd, threshold: 0.5, share: 0.9, margin: share}"
    )
    row = one(test, evidence({"hybrid": curves(60, 80), "sgd": curves(60, 91)}))
    assert row.outcome.effect is not None
    assert (row.verdict, row.outcome.effect.sd) == ("unresolved", 0.0)
    assert row.outcome.reason.startswith("the same in all seeds")


def test_hand_off_looks_at_the_epochs_after_the_switch() -> None:
    test = "{comparison: hand-off, arm: hybrid, epochs: 3, margin: one}"
    smooth = [[50, 60, 60.2, 59.8 + s, 61, 40] for s in NOISE]  # the switch is after the second epoch
    row = one(test, evidence({"hybrid": smooth}))
    assert (row.verdict, row.outcome.effect and round(row.outcome.effect.mean, 1)) == ("supported", -0.2)
    rough = [[50, 60, 60.2, 55 + s, 61, 70] for s in NOISE]
    assert one(test, evidence({"hybrid": rough})).verdict == "refuted"


def test_rougher_compares_changes_from_epoch_to_epoch_not_slopes() -> None:
    test = "{comparison: rougher, arm: post-0.5, reference: clean, margin: one}"
    steep = {"post-dither alpha=0.5": curves(10, 90), "signsgd-m": curves(80, 90)}
    assert one(test, evidence(steep)).verdict == "refuted"
    rough = {"post-dither alpha=0.5": curves(80, 90, noise=2), "signsgd-m": curves(80, 90)}
    assert one(test, evidence(rough)).verdict == "supported"


def test_gap_needs_both_data_sets() -> None:
    test = "{comparison: gap, arm: sgd, reference: clean, easier: cifar10, harder: cifar100, margin: one}"
    tables = evidence({"sgd": seeds(92), "signsgd-m": seeds(90)})
    assert one(test, tables).outcome.reason == "no data set of cifar100 in this campaign"
    both = evidence(
        {"sgd": seeds(92), "signsgd-m": seeds(90)},
        datasets={"ten": {"source": "cifar10"}, "hundred": {"source": "cifar100"}},
    )
    harder = (both.runs["dataset"] == "hundred") & (both.runs["label"] == "sgd")
    both.runs.loc[harder, "final_test_acc"] += 0.10
    row = one(test, both)
    assert row.outcome.effect is not None
    assert (row.dataset, row.outcome.effect.mean) == ("hundred", pytest.approx(10.0))
    assert row.outcome.arms == "sgd on hundred − signsgd-m on hundred − sgd on ten + signsgd-m on ten"


def test_margin_depends_on_the_data_set() -> None:
    arms = {"sgd": seeds(91.3), "signsgd-m": seeds(90, -1)}
    assert one(SAME, evidence(arms)).outcome.margin == 1
    hundred = evidence(
        arms, datasets={"c": {"source": "cifar100"}}, train={"model": "resnet18", "epochs": 200}
    )
    row = one(SAME, hundred)
    assert (row.outcome.margin, row.verdict) == (2, "supported")


def test_trend_is_shown_as_the_difference_of_its_ends() -> None:
    row = one(TREND, evidence(doses(92, 91, 90)))
    assert row.outcome.arms == "post-dither alpha=0.01 − post-dither alpha=0.5"


def test_effect_below_the_margin_is_said() -> None:
    row = one(GREATER, evidence({"sgd": seeds(90.3), "signsgd-m": seeds(90)}))
    assert (row.verdict, row.outcome.reason) == ("supported", "by less than the margin")


def test_interval_of_an_equivalence_beyond_the_margin_is_explained() -> None:
    """Differences of 0.5 ± 0.57. At the level of one look, the interval ends at 1.07, at 1 − 2α at 0.97."""
    differences = 0.53 * np.repeat([1.0, -1.0], 4) + 0.5
    row = one(SAME, evidence({"sgd": list(90 + differences), "signsgd-m": [90.0] * 8}))
    effect = row.outcome.effect
    assert effect is not None
    assert (row.verdict, effect.high > 1, effect.high90 < 1) == ("supported", True, True)
    assert row.outcome.reason == "by the interval of the equivalence test, [+0.03, +0.97]"


NOT_SUMMED = "not measured in the reading summed (no arm pre-dither-sum alpha=0.1)"
PRE = "{comparison: greater, arm: dither, over: clean, margin: one}"


@pytest.mark.parametrize(
    ("literal", "summed", "verdict", "reading"),
    [
        (80, 92, "supported", "summed"),
        (92, 80, "supported", "literal"),
        (80, 70, "refuted", "literal"),  # the reading that comes closest
        (80, None, "unresolved", "literal"),
        (None, 92, "supported", "summed"),
        (None, None, "not measured", "literal"),
    ],
)
def test_any_reading_supports_and_all_must_refute(
    literal: float | None, summed: float | None, verdict: str, reading: str
) -> None:
    found = {"pre-dither alpha=0.1": literal, "pre-dither-sum alpha=0.1": summed}
    row = one(PRE, evidence({"signsgd-m": seeds(90), **{k: seeds(v) for k, v in found.items() if v}}))
    assert (row.verdict, row.outcome.reading) == (verdict, reading)
    if verdict == "unresolved":
        assert row.outcome.reason == f"refuted in the reading literal, but {NOT_SUMMED}"


def test_unresolved_claim_names_the_readings_that_are_not_measured() -> None:
    arms = {"signsgd-m": seeds(90, -1), "pre-dither alpha=0.1": seeds(91)}
    alike = one("{comparison: same, arm: dither, reference: clean, margin: one}", evidence(arms))
    assert (alike.verdict, alike.outcome.reason) == ("unresolved", NOT_SUMMED)


def test_missing_arm_and_missing_runs() -> None:
    row = one(GREATER, evidence({"sgd": seeds(92)}))
    assert (row.verdict, row.outcome.reason) == ("not measured", "no arm signsgd-m")
    (other,) = ledger(claims_of(GREATER), evidence({"sgd": [92.0], "signsgd-m": [90.0]}))
    assert (other.verdict, other.outcome.reason) == ("unresolved", "one seed: no interval")


def test_arms_that_are_the_same_cell_are_not_compared() -> None:
    claims = claims_of(SAME)
    claims.arms["sgd"]["any"] = ("signsgd-m",)
    (row,) = ledger(claims, evidence({"signsgd-m": seeds(90)}))
    assert (row.verdict, row.outcome.reason) == ("not measured", "signsgd-m stands for several of its arms")


def test_seeds_are_paired() -> None:
    """Seeds that only one arm has run with do not count, and pairs do: their noise cancels."""
    arms = {"sgd": list(seeds(91) + 20 * NOISE), "signsgd-m": list(seeds(90) + 20 * NOISE)}
    tables = evidence(arms)
    alone = (tables.runs["label"] == "sgd") & (tables.runs["seed"] == 7)
    row = one(GREATER, dataclasses.replace(tables, runs=tables.runs[~alone]))
    assert row.outcome.effect is not None
    assert row.outcome.effect.n == 7
    assert row.outcome.effect.low > 0
    assert row.outcome.effect.mean == pytest.approx(1, abs=1e-3)


def test_diverged_seed_cannot_flip_a_verdict() -> None:
    arms = {"sgd": [*seeds(92)[:7], None], "signsgd-m": seeds(90)}
    row = one(GREATER, evidence(arms))
    assert (row.verdict, row.outcome.n_diverged) == ("unresolved", 1)
    assert row.outcome.reason == "1 of 8 seeds diverged"
    assert row.outcome.effect is not None
    assert row.outcome.effect.n == 7  # shown are the seeds that finished


def test_divergence_that_is_a_failure_is_counted() -> None:
    failed = GREATER.replace("margin", "diverged: failure, margin")
    row = one(failed, evidence({"sgd": seeds(92), "signsgd-m": [None] * 8}))
    assert (row.verdict, row.outcome.n_diverged) == ("supported", 8)
    assert row.outcome.effect is not None
    assert row.outcome.effect.mean == pytest.approx(92)
    both = one(failed, evidence({"sgd": [None] * 8, "signsgd-m": [None] * 8}))
    assert (both.verdict, both.outcome.reason) == ("not measured", "all runs diverged")


def diverging(arms: Arms, label: str, count: int, **changes: Any) -> Evidence:
    """Evidence with curves, of which the first seeds of one arm diverge after their last epoch."""
    found = evidence(arms, **changes)
    of = (found.runs["label"] == label) & (found.runs["seed"] < count)
    found.runs.loc[of, ["status", "final_test_acc"]] = ["diverged", np.nan]
    return found


def test_diverged_run_is_no_smooth_hand_off() -> None:
    """Losses are negative: a value of 0 would be among the best."""
    test = "{comparison: hand-off, arm: hybrid, epochs: 3, margin: one}"
    smooth = {"hybrid": [[50, 60, 60.2, 59.8 + s, 61, 40] for s in NOISE]}
    row = one(test, diverging(smooth, "hybrid", 3))
    assert (row.verdict, row.outcome.reason) == ("unresolved", "3 of 8 seeds diverged")
    assert one(test, diverging(smooth, "hybrid", 0)).verdict == "supported"


def test_diverged_run_may_have_been_rougher_than_all_others() -> None:
    test = "{comparison: rougher, arm: post-0.5, reference: clean, margin: one}"
    even = {"post-dither alpha=0.5": curves(80, 90), "signsgd-m": curves(80, 90)}
    assert one(test, diverging(even, "post-dither alpha=0.5", 0)).verdict == "refuted"
    assert one(test, diverging(even, "post-dither alpha=0.5", 3)).verdict == "unresolved"


def test_arms_that_may_be_the_same_between_both_extremes_are_not_refuted() -> None:
    """An accuracy of 0 lies below the other arm's, and its highest one above it; 80 would be the same."""
    row = one(SAME, evidence({"sgd": [None] * 8, "signsgd-m": [80, 80.1, 80, 79.9, 80, 80, 80.2, 90]}))
    assert (row.verdict, row.outcome.reason) == (
        "unresolved",
        "8 of 8 seeds diverged; the effect has the smallest values that they could have had",
    )


def test_verdict_that_stands_whatever_diverged_runs_had_names_them() -> None:
    row = one(NOT_WORSE, evidence({"sgd": seeds(92), "signsgd-m": [None] * 8}))
    assert (row.verdict, row.outcome.reason[:22]) == ("supported", "8 of 8 seeds diverged;")


def test_winner_at_the_edge_of_its_range_is_unresolved() -> None:
    tuned: dict[str, Any] = {"cifar10": {"sgd": {"val_acc": 0.9, "at_edge": ["lr"]}}}
    arms = {"sgd": seeds(92), "signsgd-m": seeds(90)}
    row = one(GREATER, evidence(arms, {"tuned": tuned}))
    assert row.verdict == "unresolved"
    assert row.outcome.reason == "supported, but at the edge of the range that was searched: lr of sgd"
    methods = {
        "sgd": {"optimizer": "sgd", "lr": 0.1},
        "signsgd-m": {"optimizer": "signsgd-m", "lr": 0.1},
    }
    there = evidence(
        arms, {"tuned": {"cifar10": {"other": {"val_acc": 0.9, "at_edge": ["lr"]}}}}, methods=methods
    )
    assert one(GREATER, there).verdict == "supported"
    there.campaign.methods["signsgd-m"]["tuned_as"] = "other"  # its values are those of another cell
    assert one(GREATER, there).outcome.reason.endswith("lr of signsgd-m")


def test_arm_of_which_no_trial_converged_is_not_measured() -> None:
    there = evidence({"sgd": seeds(92)}, {"tuned": {"cifar10": {"hybrid": {"val_acc": None, "at_edge": []}}}})
    there.campaign.tuned["cifar10"] = {"hybrid": None}
    claim = GREATER.replace("clean", "hybrid")
    assert one(claim, there).outcome.reason == "no trial of hybrid converged"
    there.campaign.methods["signsgd-m"] = {"optimizer": "signsgd-m", "tuned_as": "hybrid"}
    row = one(GREATER, there)
    assert (row.verdict, row.outcome.reason) == ("not measured", "no trial of hybrid converged")


#: the paper's setting on CIFAR-100
HUNDRED = {"datasets": {"c": {"source": "cifar100"}}, "train": {"model": "resnet18", "epochs": 200}}


@pytest.mark.parametrize(
    ("changes", "proxy"),
    [
        ({}, ""),
        ({"train": {"model": "small", "epochs": 50}}, "network: small"),
        ({"train": {"model": "resnet18", "epochs": 10}}, "epochs: 10"),
        ({"train": {"model": "resnet18", "steps": 150}}, "a length in steps"),
        ({"datasets": {"c": {"source": "cifar10", "subset": 500}}}, "a part of the images"),
        ({"datasets": {"c": {"source": "digits"}}}, "data: digits"),
        (HUNDRED, "data: cifar100"),
    ],
)  # fmt: skip
def test_proxy_never_decides_the_papers_setting(changes: dict[str, Any], proxy: str) -> None:
    tables = evidence({"sgd": seeds(94), "signsgd-m": seeds(90)}, **changes)
    row = one(GREATER, tables, data="cifar10")
    assert (row.proxy, row.outcome.verdict) == (proxy, "supported")
    assert row.verdict == ("not measured" if proxy else "supported")
    assert one(GREATER, tables, scope="proxy").verdict == "supported"  # a control of our own


def test_method_with_steps_of_its_own_is_not_of_the_papers_length() -> None:
    arms = {"sgd": seeds(94), "signsgd-m": seeds(90)}
    methods = campaign(list(arms), 8)["methods"]
    tables = evidence(arms, methods=methods | {"sgd": {**methods["sgd"], "steps": 100}})
    row = one(GREATER, tables, data="cifar10")
    assert (row.proxy, row.verdict) == ("a length in steps", "not measured")


def test_setting_of_the_paper_without_tuning_is_a_proxy() -> None:
    tables = evidence({"sgd": seeds(94), "signsgd-m": seeds(90)})
    guessed = dataclasses.replace(tables, tuned={"cifar10": {"sgd": tables.tuned["cifar10"]["sgd"]}})
    row = one(GREATER, guessed)
    assert (row.proxy, row.verdict) == ("not tuned", "not measured")


def test_claim_that_differs_between_the_papers_data_sets_has_no_stand_in_among_them() -> None:
    tables = evidence({"sgd": seeds(94), "signsgd-m": seeds(90)}, **HUNDRED)
    row = one(GREATER, tables, data="cifar10", specific="true")
    assert row.outcome.reason == "no data set of cifar10 in this campaign"


def test_value_is_not_tested_by_a_proxy() -> None:
    tables = evidence({"sgd": seeds(91.4)}, train={"model": "small", "epochs": 50})
    row = one("{comparison: value, arm: sgd, value: 91.38, margin: one}", tables)
    assert (row.verdict, row.outcome.verdict) == ("not measured", "not measured")


def test_holm_shares_alpha_within_a_family_and_data_set() -> None:
    claims = claims_of(GREATER)
    one_claim = claims.claims["it"]
    several = {f"it{i}": one_claim for i in range(6)} | {
        "other": one_claim.model_copy(update={"family": "Figure 2"})
    }
    noisy = evidence({"sgd": list(90.6 + 3 * NOISE), "signsgd-m": seeds(90, -1)})
    alone = ledger(claims, noisy)[0]
    rows = ledger(claims.model_copy(update={"claims": several}), noisy)
    assert alone.alpha == 0.025  # the first of two looks that were declared
    assert [row.alpha for row in rows] == [pytest.approx(0.025 / 6)] * 6 + [0.025]
    assert alone.outcome.effect is not None
    assert rows[0].outcome.effect is not None
    assert rows[0].outcome.effect.low < alone.outcome.effect.low
    assert rows[6].outcome == alone.outcome


def test_an_equivalence_counts_twice_in_its_family() -> None:
    noisy = evidence({"sgd": list(90.6 + 3 * NOISE), "signsgd-m": seeds(90, -1)})
    claims = claims_of(GREATER)
    same = claims_of("{comparison: same, arm: sgd, reference: clean, margin: one}").claims["it"]
    rows = ledger(claims.model_copy(update={"claims": {"it": claims.claims["it"], "same": same}}), noisy)
    assert [row.alpha for row in rows] == [pytest.approx(0.025 / 3)] * 2


def _correct(rows: list[dict[str, Any]], *labels: str) -> list[np.ndarray]:
    """Correctness by seed and image of each cell."""
    return [
        np.array(
            [
                np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=1003)
                for row in rows
                if row["label"] == label
            ]
        )
        for label in labels
    ]


def test_second_interval_is_for_new_images_too() -> None:
    arms = {"sgd": seeds(92), "signsgd-m": seeds(90)}
    tables = evidence(arms)
    rng = np.random.default_rng(0)
    rows = [
        {"dataset": row["dataset"], "label": row["label"], "seed": row["seed"], "images": 1003,
         "correct": np.packbits(rng.random(1003) < row["final_test_acc"]).tobytes()}
        for row in tables.runs.to_dict("records")
    ]  # fmt: skip
    full = Evidence(tables.campaign, tables.runs, tables.epochs, pd.DataFrame(rows))
    images = one(GREATER, full).outcome.images
    assert images is not None
    assert images[0] < 2.0 < images[1]
    assert one(GREATER, tables).outcome.images is None
    # a part that refutes has its share of the level, in both intervals
    other = claims_of(GREATER.replace("arm: sgd, over: clean", "arm: clean, over: [sgd, hybrid]"))
    refuted = ledger(other, full)[0].outcome.parts[0]
    assert (refuted.verdict, refuted.level) == ("refuted", 0.0125)
    assert refuted.images == pytest.approx(with_new_images(*_correct(rows, "signsgd-m", "sgd"), 0.0125))
    lacking = pd.DataFrame(rows[:-1])
    assert one(GREATER, Evidence(tables.campaign, tables.runs, tables.epochs, lacking)).outcome.images is None


def test_theory_and_measurements() -> None:
    test = "{comparison: theory, results: [eq6]}"
    tables = evidence({"sgd": seeds(92)})
    assert one(test, tables).outcome.reason == "run snakemake theory"
    result = {
        "verdict": "refuted",
        "statement": "p ≤ bound",
        "quantity": "p",
        "relation": "<=",
        "value": 1.0,
        "low": 0.9,
        "high": 1.1,
        "bound": 0.5,
        "n": 3,
    }
    row = one(test, evidence({"sgd": seeds(92)}, {"theory": {"eq6": result}}), scope="mathematics")
    assert (row.verdict, row.dataset) == ("refuted", None)
    assert row.outcome.arms == "p, should be ≤ 0.5: p ≤ bound"
    other = one(test, evidence({"sgd": seeds(92)}, {"theory": {"eq7": result}}))
    assert other.outcome.reason == "the theory lab has no result eq6"
    readings = "{comparison: theory, readings: {literal: eq6, summed: eq7}}"
    both = {"eq6": result, "eq7": {**result, "verdict": "supported"}}
    found = one(readings, evidence({"sgd": seeds(92)}, {"theory": both}), scope="mathematics")
    assert (found.verdict, found.outcome.reading) == ("supported", "summed")
    cost = "{comparison: measurement, quantity: lambda-cost, margin: share}"
    assert one(cost, tables).outcome.reason == "no measurement of lambda-cost: make bench"
    for high, verdict in ((0.05, "supported"), (0.15, "unresolved")):
        quantity = {"value": 0.04, "low": 0.03, "high": high, "n": 20}
        measured = evidence({"sgd": seeds(92)}, {"measurements": {"lambda-cost": quantity}})
        assert one(cost, measured).verdict == verdict


def test_table_has_every_claim_and_the_hash_of_the_file(tmp_path: Path) -> None:
    tables = evidence({"sgd": curves(60, 92), "signsgd-m": curves(60, 90), "hybrid": curves(60, 91)})
    rows = ledger(load(), tables)
    path = tmp_path / "claims.parquet"
    write(rows, path, digest())
    table = pq.read_table(path)
    assert table.schema.names == LEDGER_SCHEMA.names
    assert table.schema.metadata[b"claims_sha256"].decode() == digest()
    assert list(dict.fromkeys(table["claim"].to_pylist())) == list(load().claims)
    before = path.read_bytes()
    write(ledger(load(), tables), path, digest())
    assert path.read_bytes() == before


def test_gap_is_of_the_papers_setting_only_if_both_of_its_data_sets_are() -> None:
    test = "{comparison: gap, arm: sgd, reference: clean, easier: cifar10, harder: cifar100, margin: one}"
    datasets = {"ten": {"source": "cifar10"}, "hundred": {"source": "cifar100"}}
    arms = {"sgd": seeds(92), "signsgd-m": seeds(90, -1)}
    hundred = evidence(arms, datasets=datasets, train={"model": "resnet18", "epochs": 200})
    row = one(test, hundred)  # 200 epochs are the paper's on CIFAR-100 alone
    assert (row.dataset, row.verdict, row.proxy) == ("hundred", "not measured", "epochs: 200")


def test_run_that_ends_with_its_switch_has_no_hand_off() -> None:
    test = "{comparison: hand-off, arm: hybrid, epochs: 3, margin: one}"
    row = one(test, evidence({"hybrid": [[50.0, 60.0]] * 8}))
    assert (row.verdict, row.outcome.reason) == ("not measured", "hybrid has no epoch after its switch")


@pytest.mark.parametrize(
    ("test", "text"),
    [
        (VALUE, "sgd − 91.38"),
        ("{comparison: rougher, arm: sgd, reference: clean, margin: one}",
         "SD of changes from epoch to epoch: sgd − signsgd-m"),
        ("{comparison: first-passage, arm: clean, reference: sgd, threshold: 0.5, share: 0.9, margin: share}",
         "epochs below the threshold: sgd − signsgd-m"),
        ("{comparison: hand-off, arm: hybrid, epochs: 3, margin: one}",
         "lowest accuracy after the switch − accuracy before it: hybrid"),
    ],
)  # fmt: skip
def test_effect_names_its_quantity_unless_it_is_a_difference_of_accuracies(test: str, text: str) -> None:
    tables = evidence({"sgd": curves(10, 91), "signsgd-m": curves(35, 80), "hybrid": curves(35, 80)})
    assert one(test, tables).outcome.arms == text


@pytest.mark.parametrize("test", [GREATER, SAME, NOT_WORSE])
def test_equal_differences_decide_nothing(test: str) -> None:
    """With few images and seeds they occur by chance, and their interval has no width."""
    row = one(test, evidence({"sgd": [98.2, 97.8, 98.4], "signsgd-m": [98.0, 97.6, 98.2]}))
    assert (row.verdict, row.outcome.reason[:26]) == ("unresolved", "the same in all seeds: an ")


def test_verdict_of_the_first_look_stands() -> None:
    """Eight seeds with a clear difference, then eight with its opposite, and the other way round."""
    clear, none = seeds(2), [-mean for mean in seeds(2)]
    row = one(GREATER, evidence({"sgd": clear + none, "signsgd-m": [0.0] * 16}))
    assert (row.verdict, row.outcome.reason) == ("supported", "decided at the first look")
    assert row.outcome.effect is not None
    assert row.outcome.effect.n == 8
    undecided = [mean * sign for mean, sign in zip(seeds(2), [1, -1] * 4, strict=True)]
    row = one(GREATER, evidence({"sgd": undecided + clear * 5, "signsgd-m": [0.0] * 48}))
    assert (row.verdict, row.outcome.reason) == ("supported", "")
    assert row.outcome.effect is not None
    assert row.outcome.effect.n == 48


def test_no_verdict_before_all_seeds_are_in() -> None:
    tables = evidence({"sgd": seeds(92), "signsgd-m": seeds(90)})
    row = one(GREATER, dataclasses.replace(tables, runs=tables.runs[tables.runs["seed"] < 5]))
    assert (row.verdict, row.outcome.reason) == ("unresolved", "supported with 5 of 8 seeds so far")


def test_reading_that_comes_closest_to_the_same_is_the_one_with_the_smallest_difference() -> None:
    arms = {"signsgd-m": 90.0, "pre-dither alpha=0.1": 95.0, "pre-dither-sum alpha=0.1": 88.0}
    tables = evidence({label: seeds(mean) for label, mean in arms.items()})
    row = one("{comparison: same, arm: dither, reference: clean, margin: one}", tables)
    assert (row.verdict, row.outcome.reading) == ("refuted", "summed")
