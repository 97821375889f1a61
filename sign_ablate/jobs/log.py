"""Printing of log lines. The output may go to a file on a full disk, so errors of writing are ignored."""

import contextlib
import os
import sys
from typing import TextIO


def say(line: str) -> None:
    """Print a line to standard output. OSErrors are ignored."""
    _print(line, sys.stdout)


def complain(line: str) -> None:
    """Print a line to standard error. OSErrors are ignored."""
    _print(line, sys.stderr)


def _print(line: str, stream: TextIO) -> None:
    try:
        print(line, file=stream, flush=True)
    except OSError:
        discard(stream)


def discard(stream: TextIO | None) -> None:
    """Discard the unwritten output of a stream. Otherwise Python writes it again at exit, with status 120."""
    if stream is None:  # sys.stdout or sys.stderr without a file descriptor
        return
    with contextlib.suppress(OSError):  # of a stream without a file descriptor
        number = stream.fileno()
        kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, number)
            stream.flush()
        finally:
            os.dup2(kept, number)
            os.close(kept)
            os.close(nowhere)
