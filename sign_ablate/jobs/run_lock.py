"""Who is training which run: a lock on the run's folder, freed by the kernel when its holder dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sign_ablate.jobs.log import say
from sign_ablate.store.run_files import LOCK

#: how long a trainer waits for another one to leave
WAIT_SECONDS = 10.0
ADVICE = "Run fewer jobs at a time (--cores)"


class JobError(RuntimeError):
    """A job that cannot start or go on. The message says what to do."""

    #: whether a second attempt would end the same way
    final = True


class OutOfMemoryError(JobError):
    """A second attempt may find more memory: other jobs have ended by then."""

    final = False


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """One trainer per folder.

    The file is marked while it is locked: whoever gets the lock and finds a mark comes after a kill, of
    which nobody else may be left to tell.

    Raises:
        JobError: where another process holds the lock.
    """
    with (out / LOCK).open("ab", buffering=0) as file:
        # A job that was killed a moment ago may still be writing its checkpoint.
        for _ in range(int(WAIT_SECONDS / 0.1)):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.1)
        else:
            raise JobError(f"{out}: another process is training this run; wait for it or stop it") from None
        if file.seek(0, os.SEEK_END):
            say(f"{out.name}  the process that trained this run before was killed; out of memory? {ADVICE}")
        file.truncate(1)  # a mark without content takes no room on a full disk
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it would hide what went wrong inside
                file.truncate(0)


def is_running(out: Path) -> bool:
    """Whether a process is training into the folder `out` now."""
    try:
        with (out / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
