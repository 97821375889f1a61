"""Lines for people. Those of a job go to its log, which may itself be on a full disk."""

import contextlib
import sys


def say(line: str) -> None:
    """Print a line. A log that cannot be written costs the line, not the run."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def complain(line: str) -> None:
    """Print a line to standard error, with the same care."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
