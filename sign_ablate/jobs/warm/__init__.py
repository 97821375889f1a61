"""A process that holds torch, and forks for each job instead of importing it again.

A job's import of torch takes as long as a short cell's training. Here the job (`client`) hands its
arguments and standard streams to a server, which forks; to Snakemake it is a job like any other, with
its own log, exit status and signals.

- The server is one per Snakemake process and per state of the source: its address holds both, so that
  an edit starts a new one, and old code is never run. The address is an abstract socket: no file.
- It ends with its Snakemake, and its children with it, having written their checkpoints.
- A client that loses the server runs the job itself. A client that dies takes its child with it.
- It only imports torch: CUDA is initialised in the children, never before a fork.

The price in isolation: the children share the server's imports and environment, and Snakemake's
`benchmark` sees the client's memory only. `execution.warm: false` switches it off.
"""

import hashlib
import os
import sys
from pathlib import Path

#: 1: jobs are forked. Their Snakemake is in `owner.VARIABLE`.
VARIABLE = "SIGN_ABLATE_WARM"
#: how long either side waits for the other
WAIT_SECONDS = 60.0
#: standard input, output and error, which a client hands over
STREAMS = (0, 1, 2)


def address(owner: int) -> bytes:
    """The server's abstract socket: of this user, this Snakemake, and this state of the source."""
    stamp = hashlib.sha256(sys.executable.encode())
    for path in sorted(p for p in Path(__file__).parents[2].rglob("*") if p.suffix in {".py", ".c"}):
        found = path.stat()
        stamp.update(f"{path} {found.st_mtime_ns} {found.st_size}".encode())
    return f"\0sign-ablate-{os.getuid()}-{owner}-{stamp.hexdigest()[:16]}".encode()
