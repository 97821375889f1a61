"""Warm start: a server process that has done a job's imports forks a child for each job.

Importing torch takes as long as training a short cell, and importing papermill and the plotting libraries
takes longer than drawing a figure. Each has a kind of server: `training` and `notebooks`. The job (`client`)
sends its arguments and standard streams to the server, which forks. To Snakemake the client is a job like any
other, with its own log, exit status and signals.

- There is one server of a kind per Snakemake process and state of the source. Its address contains all three,
  so an edit starts a new server, and old code is never run. It is an abstract socket, without a file.
- The server ends with its Snakemake. Its children then write their checkpoints and end as well.
- A client whose server ends runs the job itself. A child whose client ends is killed.
- The server only imports torch. CUDA is initialised in the children, never before a fork.

Jobs are less isolated: the children share the server's imports, and Snakemake's `benchmark` measures only the
client's memory. `execution.warm` turns the warm start on or off; unset, `campaign.warm_start` decides.
"""

import hashlib
import os
import sys
from pathlib import Path

#: environment variable: 1 if jobs are forked; `parent.VARIABLE` then holds their Snakemake
VARIABLE = "SIGN_ABLATE_WARM"
#: the kinds of servers
TRAINING, NOTEBOOKS = "training", "notebooks"
#: timeout of client and server for each other
WAIT_SECONDS = 60.0
#: standard input, output and error, which a client passes to the server
STREAMS = (0, 1, 2)


def address(owner: int, kind: str = TRAINING) -> bytes:
    """Abstract socket of a server for this user, this Snakemake, and this state of the source."""
    stamp = hashlib.sha256(sys.executable.encode())
    for path in sorted(p for p in Path(__file__).parents[2].rglob("*") if p.suffix in {".py", ".c"}):
        found = path.stat()
        stamp.update(f"{path} {found.st_mtime_ns} {found.st_size}".encode())
    return f"\0sign-ablate-{kind}-{os.getuid()}-{owner}-{stamp.hexdigest()[:16]}".encode()
