"""A process that holds torch, and forks for each training job instead of importing it again.

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

import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from sign_ablate.owner import is_alive, owner_pid

#: 1: jobs are forked. Its owner is in `owner.VARIABLE`.
VARIABLE = "SIGN_ABLATE_WARM"
START_SECONDS = 60.0
_STREAMS = (0, 1, 2)
_PR_SET_PDEATHSIG = 1


def address(owner: int) -> bytes:
    """The server's abstract socket: of this user, this Snakemake, and this state of the source."""
    stamp = hashlib.sha256(sys.executable.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found = path.stat()
        stamp.update(f"{path} {found.st_mtime_ns} {found.st_size}".encode())
    return f"\0sign-ablate-{os.getuid()}-{owner}-{stamp.hexdigest()[:16]}".encode()


def client(arguments: list[str]) -> int | None:
    """Have the server run `sign-ablate ARGUMENTS`. The exit status, or None where it has to be run here."""
    owner = owner_pid()
    if os.environ.get(VARIABLE) != "1" or owner is None or not hasattr(os, "pidfd_open"):  # not Linux
        return None
    connection = _connect(owner)
    if connection is None:
        return None
    received: list[int] = []

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        with contextlib.suppress(OSError):  # the server is gone, and has taken the child along
            connection.send(bytes([number]))

    asked = {"folder": os.getcwd(), "arguments": arguments, "environment": dict(os.environ)}
    request = json.dumps(asked).encode()
    try:
        socket.send_fds(connection, [struct.pack("!I", len(request))], list(_STREAMS))
        connection.sendall(request)
        for number in (signal.SIGTERM, signal.SIGINT):  # not before the request, which it would garble
            signal.signal(number, pass_on)
        answer = connection.recv(4)
    except OSError:
        answer = b""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if len(answer) < 4:
        if received or not is_alive(owner):
            return 128 + (received or [signal.SIGTERM])[0]  # the child was told to write its checkpoint
        print("the warm process is gone; this job goes on by itself", flush=True)
        return None
    (status,) = struct.unpack("!i", answer)
    if status < 0:
        print(f"the training process was ended by {signal.Signals(-status).name}", file=sys.stderr)
        if status == -signal.SIGKILL:
            print("out of memory? Run fewer jobs at a time (--cores)", file=sys.stderr)
        return 128 - int(status)
    return int(status)


def _connect(owner: int) -> socket.socket | None:
    """A connection to the server, which is started where there is none; None if that takes too long."""
    name = address(owner)
    started: subprocess.Popen[bytes] | None = None
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(name)
            return connection
        except ConnectionRefusedError:
            connection.close()
        if started is None:
            # Of several that start at once, the first to bind stays. A session of its own: Ctrl-C is for
            # the clients, which pass it on. No stream of the first job's: whoever reads that to its end
            # would wait for the server.
            none = subprocess.DEVNULL
            command = [sys.executable, "-m", "sign_ablate.warm", str(owner)]
            started = subprocess.Popen(command, start_new_session=True, stdin=none, stdout=none, stderr=none)
        time.sleep(0.02)
    return None


class Server:
    """Forks a child per connection, and tells each client how its child ended."""

    def __init__(self, owner: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address(owner))  # OSError: another server was first
        self.owner = os.pidfd_open(owner)
        #: a client's connection → its child
        self.children: dict[socket.socket, int] = {}

    def serve(self) -> None:
        """Serve until Snakemake ends."""
        self.listener.listen(128)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(self.owner, selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", credentials)[1] != os.getuid():
            connection.close()
            return
        connection.settimeout(START_SECONDS)  # a client that was stopped must not stop the others
        try:
            header, streams, _, _ = socket.recv_fds(connection, 4, len(_STREAMS))
            (size,) = struct.unpack("!I", header)
            request = json.loads(_receive(connection, size))
        except (OSError, struct.error, EOFError, ValueError):
            connection.close()
            return
        connection.settimeout(None)
        server, child = os.getpid(), os.fork()
        if child == 0:
            self._run(request, streams, server)
        for stream in streams:
            os.close(stream)
        self.children[connection] = child
        self.selector.register(connection, selectors.EVENT_READ, self._hear)
        # A child's end is an event like the others.
        self.selector.register(
            os.pidfd_open(child), selectors.EVENT_READ, lambda fd: self._end(fd, connection)
        )

    def _hear(self, connection: socket.socket) -> None:
        """A client passes a signal on, or is gone."""
        try:
            numbers = connection.recv(16)
        except OSError:
            numbers = b""
        for number in numbers or bytes([signal.SIGKILL]):
            os.kill(self.children[connection], number)
        if not numbers:
            self.selector.unregister(connection)

    def _end(self, descriptor: int, connection: socket.socket) -> None:
        """Tell the client how its child ended."""
        self.selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(self.children.pop(connection), 0)
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        connection.close()

    def _run(self, request: dict[str, Any], streams: list[int], server: int) -> NoReturn:
        """The child: run the command and exit. With its server it ends as well."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != server:  # it was gone before it could be noticed
                raise SystemExit(128 + signal.SIGTERM)
            self.selector.close()
            self.listener.close()
            for connection in self.children:
                connection.close()
            for number, stream in zip(_STREAMS, streams, strict=True):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            sys.argv = ["sign-ablate", *request["arguments"]]
            from sign_ablate.cli import app

            app()
        except SystemExit as ended:
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:  # a traceback in the job's log, as a process of its own would leave
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts


def main() -> None:
    """`python -m sign_ablate.warm PID`: serve the jobs of that Snakemake."""
    try:
        server = Server(int(sys.argv[1]))
    except OSError:
        return
    # Every optimizer imports torch._dynamo when it is made: half of what a fork saves.
    for name in ("sign_ablate.cli", "sign_ablate.train.job", "torch._dynamo"):
        importlib.import_module(name)
    server.serve()


if __name__ == "__main__":
    main()
