"""Who is training which run: a lock on the run's folder, freed by the kernel when its holder dies."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from sign_ablate.train.metrics import LOCK


class JobError(RuntimeError):
    """A job that cannot start. The message says what to do."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """One trainer per folder.

    Raises:
        JobError: where another process holds the lock.
    """
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(f"{out}: another process is training this run; wait for it or stop it") from None
        yield


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
