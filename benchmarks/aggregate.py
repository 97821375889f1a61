"""Time of `aggregate` on many runs: `python -m benchmarks.aggregate` writes docs/bench-aggregate.md.

`python -m benchmarks.aggregate RUNS` prints the page for another number of runs instead.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.measure import machine
from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import Campaign, parse_campaign
from sign_ablate.store.layout import run_folder
from sign_ablate.store.run_files import ENVIRONMENT, METRICS, TIMING, TIMING_SCHEMA, write_table, write_text
from tests.conftest import write_outcome

RUNS, EPOCHS, ROUNDS = 2000, 15, 3
ALPHAS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
METHODS = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "adam": {"optimizer": "adam", "lr": 0.003},
    "hybrid": {"optimizer": "hybrid", "lr": 0.001, "t_switch": 5},
    "pre-dither": {"optimizer": "dithered", "site": "pre", "alpha": ALPHAS, "lr": 0.001},
}
CELLS = 10
OUT = Path(__file__).parents[1] / "docs" / "bench-aggregate.md"
NOTES = """\
`python -m benchmarks.aggregate` writes this page: the tables of {runs:,} finished runs of {epochs} epochs,
beside a plain pandas loop that reads the metrics of all runs and checks nothing. *First* is a call without
the cache that an earlier call leaves beside the tables; it reads and checks every run. *Again* is a call when
no run has changed. Fastest of {rounds} rounds.

The goal was a quarter of the loop's CPU seconds. The first call misses it: like the loop, it opens a Parquet
file of metrics per run, and one of times. Later calls, such as after a change of labels, meet it."""


def main() -> None:
    """Make the runs, measure both, and write or print the page."""
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
        time.sleep(3)  # files that have just been written are not kept
        forms = {
            "pandas loop": lambda: _loop(folders),
            "aggregate, first": lambda: _first(campaign, results),
            "aggregate, again": lambda: aggregate(campaign, results, results),
        }
        rounds = [{label: _seconds(work) for label, work in forms.items()} for _ in range(ROUNDS)]
    page = _page(len(folders), {label: [times[label] for times in rounds] for label in forms})
    if len(sys.argv) > 1:
        print(page, end="")
    else:
        OUT.write_text(page)


def _page(runs: int, seconds: dict[str, list[tuple[float, float]]]) -> str:
    """The page, from the wall and CPU seconds of each form in each round."""
    best = {label: [min(column) for column in zip(*rounds, strict=True)] for label, rounds in seconds.items()}
    loop = best["pandas loop"][1]
    lines = [
        "# Aggregation of many runs", "", NOTES.format(runs=runs, epochs=EPOCHS, rounds=ROUNDS), "",
        machine(), "", "| | wall s | CPU s | CPU ÷ loop's |", "| --- | --- | --- | --- |",
        *(f"| {label} | {wall:.2f} | {cpu:.2f} | {cpu / loop:.2f} |" for label, (wall, cpu) in best.items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


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
