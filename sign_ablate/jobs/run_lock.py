"""One trainer per run: a lock on the run's folder."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sign_ablate.jobs import file_lock
from sign_ablate.jobs.log import say
from sign_ablate.store.layout import LOCK

ADVICE = "Run fewer jobs at a time (--cores)"


class JobError(RuntimeError):
    """A job that cannot start or go on. The message says what to do."""

    #: whether a second attempt would end the same way
    final = True


class OutOfMemoryError(JobError):
    """A second attempt may find more memory: other jobs have ended by then."""

    final = False


@contextlib.contextmanager
def locked(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits until no other process trains into `out`, of another campaign for example, and keeps them out.

    A lock file that is not empty means that its last holder was killed.

    Args:
        out: the run's folder; it is made where there is none.
        check: called while it waits; what it raises ends the wait.

    Raises:
        OSError: the folder cannot be written.
    """
    waiting = f"{out.name}  another process is training this run; this job waits for it"
    with file_lock.lock(out / LOCK, waiting, check) as file:
        if file.seek(0, os.SEEK_END):
            say(f"{out.name}  the process that trained this run before was killed; out of memory? {ADVICE}")
        file.truncate(1)  # a mark without content takes no room on a full disk
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it would hide what went wrong inside
                file.truncate(0)


def is_running(out: Path) -> bool:
    """True while a process trains into the folder `out`."""
    return file_lock.is_locked(out / LOCK)
