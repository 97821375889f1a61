"""The paper's numbers, and where they do not apply."""

from typing import Any

import pytest

from sign_ablate.analysis.paper import TABLE_I, paper_accuracy
from sign_ablate.campaign.grid import expand
from tests.analysis.conftest import make_campaign

DITHER = {"optimizer": "dithered", "site": "pre", "alpha": 0.1, "lr": 0.001}
HYBRID = {"optimizer": "hybrid", "lr": 0.001}
SGD = {"optimizer": "sgd", "lr": 0.1}


def number(method: dict[str, Any], train: dict[str, Any] | None = None, **data: Any) -> float | None:
    campaign = make_campaign(
        datasets={"data": {"source": "cifar100", **data}},
        train={"model": "resnet18", "epochs": 200, **(train or {})},
        methods={"method": method},
    )
    return paper_accuracy(expand(campaign)[0].config)


@pytest.mark.parametrize(
    ("expected", "source", "method"),
    [
        (91.38, "cifar10", SGD),
        (77, "cifar100", SGD),
        (None, "cifar10", {"optimizer": "adam", "lr": 0.001}),
        (67, "cifar100", {"optimizer": "adam", "lr": 0.001}),
        (90.82, "cifar10", {"optimizer": "signsgd-m", "lr": 0.001}),
        (65, "cifar100", {"optimizer": "signsgd-m", "lr": 0.001}),
        (66, "cifar100", {**DITHER, "site": "post"}),
        (73, "cifar100", {**DITHER, "alpha": 0.5}),
        (76, "cifar100", DITHER),
        (None, "cifar10", DITHER),
        (92.18, "cifar10", {**HYBRID, "t_switch": 25}),
        (72, "cifar100", {**HYBRID, "t_switch": 60}),
        (None, "cifar100", {**HYBRID, "t_switch": 25}),
        (None, "cifar100", {**HYBRID, "t_switch": 60, "after": "sign"}),
        (None, "cifar100", {**HYBRID, "t_switch": 60, "length": "kept"}),
        (None, "cifar100", {**HYBRID, "t_switch": 60, "lambda_rule": "swats"}),
        (None, "cifar100", {"optimizer": "signsgd", "lr": 0.001}),
        (None, "cifar100", {**DITHER, "gamma": 0.0}),
        (None, "cifar100", {"optimizer": "adam", "lr": 0.001, "decoupled": True}),
        (None, "digits", SGD),
    ],
)
def test_number_of_a_cell(expected: float | None, source: str, method: dict[str, Any]) -> None:
    assert number(method, source=source) == expected


def test_not_for_another_network_or_a_subset() -> None:
    assert number(SGD, {"model": "small"}) is None
    assert number(SGD, subset=5000) is None
    assert number(SGD, test_subset=1000) is None


def test_all_ten_numbers_are_there() -> None:
    assert len(TABLE_I) == 10
