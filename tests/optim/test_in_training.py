"""The options of the configuration, through the pipeline's own training loop."""

import pytest
import torch

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.train.loop import Trainer

METHODS = {
    "stable": {
        "optimizer": "hybrid",
        "lr": 0.002,
        "trigger": "stable",
        "tolerance": 0.5,
        "patience": 2,
        "eta": 0.5,
    },
    "swats": {"optimizer": "hybrid", "lr": 0.002, "trigger": "swats", "tolerance": 1.0},
    "plateau": {"optimizer": "hybrid", "lr": 0.002, "trigger": "plateau", "tolerance": 0.5, "patience": 2},
    "tensor": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 1, "lambda_scope": "tensor"},
    "applied": {
        "optimizer": "dithered-hybrid",
        "lr": 0.002,
        "t_switch": 1,
        "site": "pre",
        "alpha": 0.01,
        "lambda_step": "applied",
    },
    "rms": {
        "optimizer": "dithered",
        "lr": 0.002,
        "site": "pre",
        "alpha": 1.0,
        "scale": "global_rms",
        "k_unit": "epoch",
    },
    "excluded": {"optimizer": "signsgd-m", "lr": 0.002, "weight_decay": 0.01, "exclude_norm_bias": True},
    "bfloat16": {"optimizer": "signsgd-m", "lr": 0.002, "momentum_dtype": "bfloat16"},
}


@pytest.fixture(scope="module")
def runs():
    from tests.conftest import TINY

    config = {**TINY, "methods": METHODS, "seeds": [0], "figures": {}}
    return {run.cell.method: run.config for run in expand(parse_campaign(config))}


@pytest.fixture(scope="module")
def data(tmp_path_factory, runs):
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(runs["stable"].data, path)
    return read(path)


@pytest.mark.parametrize("name", METHODS)
def test_the_method_trains_and_switches(runs, data, name):
    result = Trainer(runs[name], data, torch.device("cpu")).fit()
    assert len(result.metrics) == 3
    assert all(row["train_loss"] == row["train_loss"] for row in result.metrics)
    if "trigger" in METHODS[name]:
        assert result.metrics[-1]["phase"] == "sgd"
