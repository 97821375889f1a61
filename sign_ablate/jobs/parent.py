"""The Snakemake process that a job belongs to: a job whose Snakemake is gone stops too."""

import os
import select

#: process id, on this machine
VARIABLE = "SIGN_ABLATE_OWNER"


def owner_pid() -> int | None:
    """The owner, or None for a job that somebody started by hand."""
    value = os.environ.get(VARIABLE)
    return int(value) if value else None


def is_alive(pid: int | None) -> bool:
    """Whether the process runs; True where there is no owner. One that nobody has waited for yet does not."""
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
