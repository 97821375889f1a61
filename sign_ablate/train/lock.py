"""Who is training which run: a lock on the run's folder, freed by the kernel when its holder dies."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from sign_ablate.train.metrics import LOCK

#: how long a trainer waits for another one to leave
WAIT_SECONDS = 10.0


class JobError(RuntimeError):
    """A job that cannot start. The message says what to do."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """One trainer per folder.

    Raises:
        JobError: where another process holds the lock.
    """
    with (out / LOCK).open("w") as file:
        # A job that was killed a moment ago may still be writing its checkpoint.
        for _ in range(int(WAIT_SECONDS / 0.1)):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.1)
        else:
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
