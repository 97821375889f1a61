"""One Snakemake per campaign: a lock on its folder.

Snakemake's own lock is of all files that a call needs or makes: it would keep campaigns that share a run from
running side by side, and `snakemake partial` from a campaign that runs. So it is off in profiles/default
(`nolock`), and runs have locks of their own (jobs/run_lock.py).
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
        folder: a campaign's folder, or its folder of partial results; it is made where there is none.

    Raises:
        JobError: another Snakemake has locked it.
        OSError: the lock cannot be written.
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
    """True while a Snakemake has locked `folder`."""
    return file_lock.is_locked(folder / LOCK)
