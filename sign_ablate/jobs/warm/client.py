"""Client of the warm server: sends it a command. Every job imports this module, so it imports little."""

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time

from sign_ablate.jobs.log import complain, say
from sign_ablate.jobs.parent import has_pidfd, is_alive, owner_pid
from sign_ablate.jobs.signals import stop_signals
from sign_ablate.jobs.warm import STREAMS, TRAINING, VARIABLE, WAIT_SECONDS, address


def run(arguments: list[str], kind: str = TRAINING, *, start_server: bool) -> int | None:
    """Run `sign-ablate ARGUMENTS` in the server.

    Args:
        arguments: command-line arguments.
        kind: the kind of the server.
        start_server: start the server if it is not running.

    Returns:
        The exit status, or None if the caller has to run the command itself.
    """
    owner = _owner()
    connection = None if owner is None else _connect(owner, kind, start_server)
    if owner is None or connection is None:
        return None
    received, numbers = list[int](), stop_signals()

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        with contextlib.suppress(OSError):  # the server is gone, and its child with it
            connection.send(bytes([number]))

    asked = {"folder": os.getcwd(), "arguments": arguments, "environment": dict(os.environ)}
    request = json.dumps(asked).encode()
    try:
        socket.send_fds(connection, [struct.pack("!I", len(request))], list(STREAMS))
        connection.sendall(request)
        for number in numbers:  # not before the request, which a signal would corrupt
            signal.signal(number, pass_on)
        answer = connection.recv(4)
    except OSError:
        answer = b""
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    if len(answer) < 4:
        if received or not is_alive(owner):
            return 128 + (received or [signal.SIGTERM])[0]  # the child was told to write its checkpoint
        say("the warm process has ended; this job now runs on its own")
        return None
    return _exit_status(*struct.unpack("!i", answer))


def _owner() -> int | None:
    """The Snakemake whose servers run the jobs; None if each job runs on its own."""
    on = os.environ.get(VARIABLE) == "1" and has_pidfd()
    return owner_pid() if on else None


def start_ahead(kind: str) -> None:
    """Start a server for jobs that come later, if jobs run in servers."""
    owner = _owner()
    if owner is not None:
        start(owner, kind)


def start(owner: int, kind: str = TRAINING) -> None:
    """Start a server of the Snakemake `owner` without waiting for it. A running server is kept."""
    import subprocess

    # If several servers start at once, the first one to bind stays. The new session keeps Ctrl-C for the
    # clients, which pass it on. A reader of the first job's output would wait for a server that inherits it.
    none = subprocess.DEVNULL
    command = [sys.executable, "-m", "sign_ablate.jobs.warm.server", str(owner), kind]
    subprocess.Popen(command, start_new_session=True, stdin=none, stdout=none, stderr=none)


def _connect(owner: int, kind: str, start_server: bool) -> socket.socket | None:
    """Connect to the server, which need not be ready yet. Returns None if there is none in time."""
    name, started = address(owner, kind), False
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(name)
            return connection
        except ConnectionRefusedError:
            connection.close()
        if not start_server:
            return None
        if not started:
            start(owner, kind)
            started = True
        time.sleep(0.02)
    return None


def _exit_status(status: int) -> int:
    """Convert a child's status to a shell's exit status, and log the signal that ended the child, if any."""
    if status >= 0:
        return status
    hint = "; out of memory? Run fewer jobs at a time (--cores)" if status == -signal.SIGKILL else ""
    complain(f"the job's process was ended by {signal.Signals(-status).name}{hint}")
    return 128 - status
