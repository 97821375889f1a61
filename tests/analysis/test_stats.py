"""Intervals against numbers worked out by hand."""

import pandas as pd
import pytest

from sign_ablate.analysis.stats import paired_difference, t_interval


def test_interval_by_hand() -> None:
    # mean 2, sd 1, standard error 1/√3, t(0.975, 2) = 4.302653 (table)
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.low == pytest.approx(2 - 2.484138, abs=1e-5)
    assert found.high == pytest.approx(2 + 2.484138, abs=1e-5)


def test_too_few_values() -> None:
    one = t_interval([0.5])
    assert (one.n, one.mean, one.sd, one.low, one.high) == (1, 0.5, None, None, None)
    assert t_interval([]).mean is None


def frame(rows: list[tuple[str, int, str, float | None]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["label", "seed", "status", "final_test_acc"])
    return table.assign(dataset="digits")


def test_paired_difference_takes_the_seeds_that_both_finished() -> None:
    runs = frame(
        [
            ("a", 0, "finished", 0.91), ("a", 1, "finished", 0.83), ("a", 2, "finished", 0.99),
            ("b", 1, "finished", 0.80), ("b", 0, "finished", 0.90), ("b", 2, "diverged", None),
        ]
    )  # fmt: skip
    found = paired_difference(runs, "digits", "a", "b")
    # differences 0.01 and 0.03: mean 0.02, standard error 0.01, t(0.975, 1) = 12.7062
    assert found.n == 2
    assert found.mean == pytest.approx(0.02)
    assert found.high == pytest.approx(0.02 + 0.127062, abs=1e-6)
    assert paired_difference(runs, "digits", "b", "a").mean == pytest.approx(-0.02)


def test_paired_difference_without_a_partner() -> None:
    runs = frame([("a", 0, "finished", 0.9), ("b", 0, "diverged", None)])
    assert paired_difference(runs, "digits", "a", "b").n == 0
    assert paired_difference(runs, "digits", "a", "missing").n == 0
    assert paired_difference(runs, "other", "a", "b").n == 0
