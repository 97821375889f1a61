"""Locks of a cluster's jobs: one job at a time for each run.

A Snakemake process that is killed leaves its jobs in the cluster's queue, and the next call submits them
again. The lock of the training process (`run_lock`) is too late for the second job: Snakemake deletes a job's
log before it starts the job, also that of a job that is running. The Snakemake process inside a cluster's job
therefore locks its runs before it starts them, and keeps the locks until it ends.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from sign_ablate.jobs import file_lock
from sign_ablate.jobs.run_lock import is_running
from sign_ablate.store.layout import JOB_LOCK

_held: list[BinaryIO] = []


def hold(folders: Iterable[Path]) -> None:
    """Lock runs until this process ends. Waits while another job has locked or trains one of them.

    Args:
        folders: the runs' folders. They are created if they do not exist.

    Raises:
        OSError: if a folder cannot be written.
    """
    for folder in sorted(folders):  # in one order, so that jobs with several runs do not wait for one another
        waiting = f"{folder.name}  another job is training this run; this job waits for it"
        _held.append(file_lock.lock(folder / JOB_LOCK, waiting))
        while is_running(folder):
            time.sleep(file_lock.POLL_SECONDS)
