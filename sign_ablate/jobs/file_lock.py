"""File locks (flock). The kernel releases a lock when its holder ends, even after `kill -9`."""

import fcntl
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sign_ablate.jobs.log import say

#: time between two tries
POLL_SECONDS = 0.1
#: number of tries that may fail only because another process calls `is_locked`
LOOKS = 10


def try_lock(path: Path) -> BinaryIO | None:
    """Try to lock a file, without waiting.

    Returns:
        The open, locked file. None if another process has locked it, or its folder does not exist.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        file = path.open("ab", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The file may have been deleted after it was opened. The next process would then lock a new file.
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def lock(path: Path, waiting: str, check: Callable[[], None] = lambda: None) -> BinaryIO:
    """Wait until no other process holds the lock, then lock the file and return it.

    Args:
        path: the lock file. Its folder is created if it does not exist.
        waiting: line to print if another process holds the lock.
        check: called while waiting. An exception that it raises ends the wait.

    Raises:
        OSError: if the file cannot be written.
    """
    for tries in itertools.count():
        path.parent.mkdir(parents=True, exist_ok=True)
        if (file := try_lock(path)) is not None:
            return file
        if tries == LOOKS:
            say(waiting)
        check()
        time.sleep(POLL_SECONDS)
    raise AssertionError  # for mypy: the loop has no end


def is_locked(path: Path) -> bool:
    """Return True if another process holds the lock."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
