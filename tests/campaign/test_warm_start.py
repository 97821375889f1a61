"""Choice of the warm start."""

from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.warm_start import SHORT, is_on
from sign_ablate.config import parse_campaign


def chosen(config: dict[str, Any], device: str = "cpu") -> bool:
    campaign = parse_campaign(config)
    return is_on(campaign, expand(campaign), device)


def test_short_runs_on_a_cpu_start_warm(tiny: dict[str, Any]) -> None:
    assert chosen(tiny)
    assert not chosen(tiny, "cuda")


@pytest.mark.parametrize(
    "train",
    [
        {"model": "resnet18", "epochs": 2},
        {"model": "small", "epochs": 10_000},
        {"model": "small", "steps": SHORT // 32 + 1, "batch_size": 32},
    ],
)
def test_long_runs_start_cold(train: dict[str, Any], tiny: dict[str, Any]) -> None:
    tiny["train"] = train
    assert not chosen(tiny)


@pytest.mark.parametrize("warm", [True, False])
def test_the_configuration_decides_where_it_says(warm: bool, tiny: dict[str, Any]) -> None:
    tiny["execution"] = {**tiny["execution"], "warm": warm}
    assert chosen(tiny, "cuda") == warm
