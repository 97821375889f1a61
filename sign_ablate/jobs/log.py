"""Printing of log lines. The output may go to a file on a full disk, so errors of writing are ignored."""

import contextlib
import sys


def say(line: str) -> None:
    """Print a line to standard output. OSErrors are ignored."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def complain(line: str) -> None:
    """Print a line to standard error. OSErrors are ignored."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
