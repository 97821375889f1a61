"""The owner of a job: its Snakemake process. A job stops when its owner ends."""

import contextlib
import ctypes
import os
import select
import signal
from functools import cache

_PR_SET_PDEATHSIG = 1
#: environment variable with the owner's process id on this machine
VARIABLE = "SIGN_ABLATE_OWNER"


def owner_pid() -> int | None:
    """Process id of the owner, or None for a job that was started by hand."""
    value = os.environ.get(VARIABLE)
    return int(value) if value else None


@cache
def has_pidfd() -> bool:
    """Return True if the kernel has `pidfd_open`: Linux 5.3 or newer, outside of sandboxes that refuse it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def is_alive(pid: int | None) -> bool:
    """Return True if the process runs, or if `pid` is None. A zombie process does not run."""
    if pid is None:
        return True
    try:
        if not has_pidfd():
            os.kill(pid, 0)
            return True
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


def die_with(parent: int, number: signal.Signals) -> None:
    """Make the kernel send this process a signal when its parent process ends. Only on Linux.

    Raises:
        SystemExit: if the parent has ended already.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        raise SystemExit(128 + number)
