"""Overhead of a campaign beyond training: `python -m benchmarks.overhead` writes docs/bench-overhead.md.

It runs a campaign (config.yaml, or the file given) from an empty results folder, with one Python process per
job (cold) and with the warm process, up to the summary table and up to the report.
Overhead = wall seconds × workers − Σ seconds of training and evaluation.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.measure import machine
from sign_ablate.campaign.grid import expand
from sign_ablate.config import load_campaign
from sign_ablate.config.load import read_yaml
from sign_ablate.store.layout import ENVIRONMENT, METRICS, RESULTS, TIMING, runs_folder, train_benchmark
from tests.workflow.conftest import make

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "bench-overhead.md"
NOTES = """\
`python -m benchmarks.overhead` writes this page: {config} ({cells} cells), from an empty results folder, on
{workers} workers, one form after the other. All numbers but the first and the ratio are seconds of a worker
(wall seconds × workers), so that the rows from training to the last run add up to wall × workers. *Start* is
Snakemake's own and the data file. The cold form's imports are in the two rows of the jobs; the first jobs'
wait until the warm process has imported torch is in *start and end of jobs*. *After the last run* is the
summary table, or all tables, figures (each a notebook) and the report."""
LABELS = (
    "wall s",
    "training and evaluation",
    "start, until the first run",
    "start and end of jobs, imports",
    "in the job beside training: data, network, files",
    "between jobs, and a worker without one at the end",
    "after the last run",
    "**s per cell beyond training**",
    "**wall × workers ÷ training**",
)


def measure(config: dict[str, Any], product: str, warm: bool, workers: int) -> list[float]:
    """Run the campaign up to `product`, and return the values for LABELS."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, config)
        target = f"results/{config['campaign']}/{product}"
        command = [sys.executable, "-m", "snakemake", target, "--quiet", "all", "--cores", str(workers)]
        command += ["--config", f"execution={{'warm': '{str(warm).lower()}'}}"]
        begin = time.time()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        end = time.time()
        results = folder / RESULTS
        runs = [_times(path, results, config["campaign"]) for path in runs_folder(results).glob("*")]
    training, inside, whole = (sum(run[i] for run in runs) for i in range(3))
    first, last = min(run[3] - run[2] for run in runs), max(run[3] for run in runs)
    total = workers * (end - begin)
    return [
        end - begin,
        training,
        workers * (first - begin),
        whole - inside,
        inside - training,
        workers * (last - first) - whole,
        workers * (end - last),
        (total - training) / len(runs),
        total / training,
    ]


def _times(run: Path, results: Path, campaign: str) -> tuple[float, float, float, float]:
    """Seconds of training and evaluation, of `training.train`, and of the whole job; and its end time."""
    timing = pq.read_table(run / TIMING, columns=["train_seconds", "eval_seconds"]).to_pydict()
    inside = json.loads((run / ENVIRONMENT).read_text())["seconds"]
    benchmark = train_benchmark(results, campaign, run.name)
    whole = float(benchmark.read_text().splitlines()[1].split("\t")[0])
    return sum(map(sum, timing.values())), inside, whole, (run / METRICS).stat().st_mtime


def main() -> None:
    """Measure, print, and write the page."""
    config = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "config.yaml"
    short = read_yaml(config)
    long = {**short, "seeds": list(range(3 * len(short["seeds"])))}
    workers = os.cpu_count() or 1
    forms = (
        ("cold, to the summary", short, "summary.parquet", False),
        ("warm, to the summary", short, "summary.parquet", True),
        ("warm, three times the seeds", long, "summary.parquet", True),
        ("warm, to the report", short, "report.html", True),
    )
    columns = [(name, measure(campaign, product, warm, workers)) for name, campaign, product, warm in forms]
    cells = len(expand(load_campaign([config])))
    lines = ["# What a campaign costs beyond training", ""]
    lines += [NOTES.format(config=config.name, cells=cells, workers=workers), "", machine(), ""]
    lines += [f"| | {' | '.join(name for name, _ in columns)} |", "| --- |" + " --- |" * len(columns)]
    for i, label in enumerate(LABELS):
        lines.append(f"| {label} | {' | '.join(f'{values[i]:.2f}' for _, values in columns)} |")
    OUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
