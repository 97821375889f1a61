"""Lines for people. Those of a job go to its log, which may itself be on a full disk."""

import contextlib
import sys
from pathlib import Path

from sign_ablate.jobs.parent import owner_pid


def say(line: str) -> None:
    """Print a line. A log that cannot be written costs the line, not the run."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def complain(line: str) -> None:
    """Print a line to standard error, or else to that of the job's Snakemake."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError), Path(f"/proc/{owner_pid()}/fd/2").open("a") as stream:
            stream.write(f"{line}\n")
