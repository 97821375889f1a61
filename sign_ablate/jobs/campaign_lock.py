"""Lock on a campaign's folder, which ensures that only one Snakemake process runs the campaign.

Snakemake's own lock covers all input and output files of a call. It would prevent campaigns that share a run
from running at the same time, and `snakemake partial` while a campaign is running. It is therefore disabled
in profiles/default (`nolock`), and runs have their own locks (jobs/run_lock.py).
"""

import os
import platform
import time
from pathlib import Path
from typing import BinaryIO

from sign_ablate.jobs import file_lock
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.store.layout import LOCK

_held: list[BinaryIO] = []


def hold(folder: Path) -> None:
    """Lock `folder` until this process ends.

    Args:
        folder: a campaign's folder, or its folder of partial results. It is created if it does not exist.

    Raises:
        JobError: if another Snakemake process has locked it.
        OSError: if the lock file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    for _ in range(file_lock.LOOKS):
        if (file := file_lock.try_lock(path)) is not None:
            break
        time.sleep(file_lock.POLL_SECONDS)
    else:
        holder = path.read_text().strip() or "it has just begun"
        raise JobError(
            f"{folder}: another Snakemake is at work on this campaign ({holder}); wait for it or stop it, or "
            "give this call another campaign's name (--config campaign=NAME): campaigns share their runs"
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    _held.append(file)


def is_held(folder: Path) -> bool:
    """Return True if a Snakemake process has locked `folder`."""
    return file_lock.is_locked(folder / LOCK)
