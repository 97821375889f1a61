"""A tiny run of every method against stored numbers: they change only with NUMERICS_VERSION."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sign_ablate import NUMERICS_VERSION
from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.train.loop import Trainer
from tests.campaign.test_grid import GOLDEN
from tests.conftest import EVERY_METHOD, TINY

KEYS = ("train_loss", "test_loss", "grad_l2", "lambda_bar", "sigma", "momentum_rms")


def numbers(folder: Path) -> dict[str, dict[str, float]]:
    """Cell → the last epoch's numbers. One epoch of few steps: a flipped sign has no time to grow."""
    torch.set_num_threads(1)
    config: dict[str, Any] = {
        **TINY, "methods": EVERY_METHOD, "seeds": [0], "train": {**TINY["train"], "epochs": 2}
    }  # fmt: skip
    runs = expand(parse_campaign(config))
    prepare(runs[0].config.data, folder / "data")
    data = read(folder / "data")
    found = {}
    for run in runs:
        row = Trainer(run.config, data, torch.device("cpu")).fit().metrics[-1]
        found[run.cell.label] = {key: row[key] for key in KEYS if row.get(key) is not None}
    return found


def test_numbers_change_only_with_the_numerics_version(tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / "numbers.json").read_text())
    assert golden["numerics"] == NUMERICS_VERSION, "run: python -m tests.golden.update"
    found = numbers(tmp_path)
    assert set(found) == set(golden["numbers"]), "run: python -m tests.golden.update"
    for label, expected in golden["numbers"].items():
        # Wide enough for another CPU's rounding, far too narrow for another method.
        assert found[label] == pytest.approx(expected, rel=2e-3), (
            f"{label}: bump NUMERICS_VERSION, then run python -m tests.golden.update"
        )
