"""Runs that wait in SLURM's queue, as `squeue` lists them."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

#: longest wait for SLURM's controller
TIMEOUT_SECONDS = 5.0


def queued(runs: Iterable[str], results: Path) -> set[str]:
    """Runs that have a pending job of this user, submitted from the folder of `results`.

    Empty without SLURM, or if its controller does not answer. The run is in the job's comment
    (profiles/slurm) or in its name (profiles/cluster-generic).

    Args:
        runs: ids of the runs to look for.
        results: the results folder.
    """
    if shutil.which("squeue") is None:
        return set()
    command = ["squeue", "--me", "--noheader", "--states=PENDING", "--format=%Z|%k|%j"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return set()
    jobs = [line.partition("|") for line in found.stdout.splitlines()]
    here = str(results.resolve().parent)
    labels = [label for folder, _, label in jobs if folder == here]
    return {run for run in runs if any(run in label for label in labels)}
