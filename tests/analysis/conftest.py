"""Made-up runs: folders as training leaves them, with accuracies that a test chooses."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import Campaign, parse_campaign
from sign_ablate.store.layout import run_folder
from sign_ablate.store.run_files import (
    ENVIRONMENT,
    TIMING,
    TIMING_SCHEMA,
    write_table,
    write_text,
)
from tests.conftest import write_outcome

METHODS: dict[str, Any] = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "signsgd-m": {"optimizer": "signsgd-m", "lr": 0.001},
    "pre-dither": {"optimizer": "dithered", "site": "pre", "alpha": [0.1, 0.5], "lr": 0.001},
    "hybrid": {"optimizer": "hybrid", "lr": 0.001, "t_switch": [2]},
}


#: of the ten test images that made-up runs have
PREDICTIONS = [{"predicted": n % 3, "correct": n not in {2, 3}} for n in range(10)]


def make_campaign(**changes: Any) -> Campaign:
    values = {
        "campaign": "test",
        "seeds": [0, 1, 2],
        "datasets": {"digits": {"source": "digits"}},
        "train": {"epochs": 4},
        "methods": METHODS,
    }
    return parse_campaign({**values, **changes})


def curve(final: float, epochs: int) -> list[float]:
    """Accuracies that rise to `final` at the last epoch."""
    return [
        final * (1 - 0.9 * math.exp(-4 * i / epochs)) / (1 - 0.9 * math.exp(-4)) for i in range(1, epochs + 1)
    ]


def write_run(
    results: Path, run: Run, accuracies: list[float], diverged_at: int | None = None, val: float | None = None
) -> Path:
    """One run's folder. `diverged_at`: it diverged at that step, after the epochs of `accuracies`."""
    folder = run_folder(results, run.id)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"epoch": i, "step": 10 * i, "train_loss": 1 / i, "train_acc": a, "test_loss": 2 / i, "test_acc": a,
         "val_acc": val, "lr": run.config.method.lr}
        for i, a in enumerate(accuracies, 1)
    ]  # fmt: skip
    times = [
        {"epoch": i, "train_seconds": 2.0, "eval_seconds": 0.5, "images_per_second": 100.0 * i}
        for i in range(1, len(accuracies) + 1)
    ]
    environment = {
        "code": "0123456789ab",
        "git_commit": "abc+",
        "versions": {"torch": "2.15"},
        "device": "cpu",
        "host": "h",
        "seconds": 12.5,
    }
    write_table(folder / TIMING, times, TIMING_SCHEMA)
    write_text(folder / ENVIRONMENT, json.dumps(environment))
    write_outcome(folder, run, rows, diverged_at, None if diverged_at is not None else PREDICTIONS)
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results" / "test"


@pytest.fixture
def write_all(results: Path) -> Callable[[Campaign], None]:
    """Write every run of a campaign, seed s of cell c ending at 0.9 + 0.01·c + 0.001·s."""

    def write(campaign: Campaign) -> None:
        runs = expand(campaign)
        cells = list(dict.fromkeys((run.cell.dataset, run.cell.label) for run in runs))
        for run in runs:
            final = 0.9 + 0.01 * cells.index((run.cell.dataset, run.cell.label)) + 0.001 * run.config.seed
            write_run(results, run, curve(final, run.config.train.epochs or 1))

    return write
