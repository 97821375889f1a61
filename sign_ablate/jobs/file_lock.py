"""Locks on files (flock), which the kernel frees when their holder ends, by `kill -9` for example."""

import fcntl
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sign_ablate.jobs.log import say

#: between two tries
POLL_SECONDS = 0.1
#: so many tries may fail because another process looks (`is_locked`)
LOOKS = 10


def try_lock(path: Path) -> BinaryIO | None:
    """The open and locked file; None where another process has locked it, or there is no folder for it.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        file = path.open("ab", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been deleted since it was opened: then the next process locks another file of that name.
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
    """The open and locked file, once no other process has locked it. Its folder is made where there is none.

    Args:
        path: the lock file.
        waiting: said where another process holds the lock.
        check: called while it waits; what it raises ends the wait.

    Raises:
        OSError: the file cannot be written.
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
    """True while another process holds the lock."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
