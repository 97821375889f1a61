"""Seconds of `aggregate` on many finished runs, beside a plain pandas loop over their metrics.

`python -m benchmarks.aggregate [RUNS]` makes the runs, of 15 epochs each, in a temporary folder, and prints
wall and CPU seconds of each, the fastest of three rounds. *First* is without what an earlier call has kept.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import Campaign, parse_campaign
from sign_ablate.store.layout import run_folder
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, TIMING, TIMING_SCHEMA, write_table, write_text
from tests.conftest import write_outcome

RUNS, EPOCHS, ROUNDS = 5000, 15, 3
ALPHAS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
METHODS = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "adam": {"optimizer": "adam", "lr": 0.003},
    "hybrid": {"optimizer": "hybrid", "lr": 0.001, "t_switch": 5},
    "pre-dither": {"optimizer": "dithered", "site": "pre", "alpha": ALPHAS, "lr": 0.001},
}
CELLS = 10


def main() -> None:
    """Make the runs, measure both, print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    campaign = parse_campaign(
        {
            "campaign": "bench",
            "seeds": list(range(-(-runs // CELLS))),
            "datasets": {"digits": {"source": "digits"}},
            "train": {"epochs": EPOCHS},
            "methods": METHODS,
        }
    )
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        folders = [_write(results, run) for run in expand(campaign)]
        print(f"{len(folders)} runs of {EPOCHS} epochs; fastest of {ROUNDS} rounds")
        time.sleep(3)  # files that have just been written are not kept
        forms = {
            "pandas loop": lambda: _loop(folders),
            "aggregate, first": lambda: _first(campaign, results),
            "aggregate, again": lambda: aggregate(campaign, results, results),
        }
        rounds = [{label: _seconds(work) for label, work in forms.items()} for _ in range(ROUNDS)]
        for label in forms:
            wall, cpu = (min(times) for times in zip(*(times[label] for times in rounds), strict=True))
            print(f"{label:16} {wall:6.2f} s wall {cpu:6.2f} s CPU")


def _loop(folders: list[Path]) -> None:
    """The metrics of all runs as one frame, and no check of anything."""
    pd.concat([pd.read_parquet(folder / METRICS) for folder in folders])


def _first(campaign: Campaign, results: Path) -> None:
    (results / schemas.KEPT).unlink(missing_ok=True)
    aggregate(campaign, results, results)


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _write(results: Path, run: Run) -> Path:
    """The files of a finished run, with made-up numbers."""
    folder = run_folder(results, run.id)
    folder.mkdir(parents=True)
    epochs = range(1, EPOCHS + 1)
    accuracy = 0.9 + 0.0001 * run.config.seed
    rows = [
        {
            "epoch": n, "step": 23 * n, "train_loss": 1 / n, "train_acc": accuracy, "test_loss": 2 / n,
            "test_acc": accuracy, "lr": 0.1, "grad_l1": 1.5, "grad_l2": 0.5, "momentum_rms": 0.1,
        }
        for n in epochs
    ]  # fmt: skip
    times = [
        {"epoch": n, "train_seconds": 2.0, "eval_seconds": 0.5, "images_per_second": 900.0} for n in epochs
    ]
    versions = {"torch": "2.15.0", "python": "3.11.7"}
    environment = {
        "code": "0123456789ab", "git_commit": "abc", "versions": versions, "device": "cpu", "host": "bench",
        "seconds": 40.0,
    }  # fmt: skip
    write_table(folder / TIMING, times, TIMING_SCHEMA)
    write_text(folder / ENVIRONMENT, json.dumps(environment, indent=2))
    write_outcome(folder, run, rows, None)
    return folder


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
