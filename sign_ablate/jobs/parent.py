"""The owner of a job: its Snakemake process. A job stops when its owner ends."""

import os
import select

#: environment variable with the owner's process id on this machine
VARIABLE = "SIGN_ABLATE_OWNER"


def owner_pid() -> int | None:
    """Process id of the owner, or None for a job that was started by hand."""
    value = os.environ.get(VARIABLE)
    return int(value) if value else None


def is_alive(pid: int | None) -> bool:
    """Return True if the process runs, or if `pid` is None. A zombie process does not run."""
    if pid is None:
        return True
    try:
        if not hasattr(os, "pidfd_open"):  # not Linux
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
