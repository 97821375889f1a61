"""What a campaign costs beyond training: `python -m benchmarks.overhead [CONFIG]` runs it cold and warm.

Overhead per cell = (wall seconds × workers − Σ seconds of training and evaluation) ÷ cells, from an empty
results folder to the summary table; the start of Snakemake and the preparation of the data are in it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

from sign_ablate.config import load_campaign
from sign_ablate.config.load import read_yaml
from tests.workflow.conftest import make

ROOT = Path(__file__).parents[1]


def measure(config: Path, warm: bool, workers: int) -> tuple[float, float, int]:
    """Wall seconds to the summary, seconds of training and evaluation of all runs, number of runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, read_yaml(config))
        target = f"results/{load_campaign([config]).campaign}/summary.parquet"
        command = [sys.executable, "-m", "snakemake", target, "--quiet", "all", "--cores", str(workers)]
        command += ["--config", f"execution={{'warm': '{str(warm).lower()}'}}"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        wall = time.perf_counter() - start
        files = [str(path) for path in folder.glob("results/*/runs/*/timing.parquet")]
        table = ds.dataset(files).to_table(columns=["train_seconds", "eval_seconds"])
        training = sum(float(pc.sum(table[column]).as_py()) for column in table.column_names)
        return wall, training, len(files)


def main() -> None:
    config = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "config.yaml"
    workers = os.cpu_count() or 1
    print(f"{config.name}, {workers} workers, to the summary table\n")
    print("| jobs | wall s | Σ training s | wall × workers ÷ Σ training | s per cell beyond training |")
    print("| --- | --- | --- | --- | --- |")
    for warm in (False, True):
        wall, training, cells = measure(config, warm, workers)
        ratio, extra = wall * workers / training, (wall * workers - training) / cells
        label = "forked from a warm process" if warm else "one Python each"
        print(f"| {label} | {wall:.1f} | {training:.1f} | {ratio:.2f} | {extra:.2f} |", flush=True)


if __name__ == "__main__":
    main()
