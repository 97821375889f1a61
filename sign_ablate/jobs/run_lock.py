"""Lock on a run's folder, which ensures that only one process trains the run."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sign_ablate.jobs import file_lock
from sign_ablate.jobs.log import say
from sign_ablate.store.layout import LOCK

ADVICE = "Run fewer jobs at a time (--cores)"


class JobError(RuntimeError):
    """A job cannot start or continue. The message says what to do."""

    #: True if a second attempt would fail in the same way
    final = True


class OutOfMemoryError(JobError):
    """Memory ran out. It is not final: other jobs may have ended when the job is tried again."""

    final = False


@contextlib.contextmanager
def locked(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Context manager that locks the run's folder `out`, and waits while another process has locked it.

    A non-empty lock file means that its last holder was killed.

    Args:
        out: the run's folder. It is created if it does not exist.
        check: called while waiting. An exception that it raises ends the wait.

    Raises:
        OSError: if the folder cannot be written.
    """
    waiting = f"{out.name}  another process is training this run; this job waits for it"
    with file_lock.lock(out / LOCK, waiting, check) as file:
        if file.seek(0, os.SEEK_END):
            say(f"{out.name}  the process that trained this run before was killed; out of memory? {ADVICE}")
        file.truncate(1)  # extends the file by a hole, which needs no space on a full disk
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it would replace the exception raised inside
                file.truncate(0)


def is_running(out: Path) -> bool:
    """Return True if a process is training the run in the folder `out`."""
    return file_lock.is_locked(out / LOCK)
