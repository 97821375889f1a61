"""The server's side: fork a child per job (`python -m sign_ablate.jobs.warm.server PID`)."""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
from typing import Any, NoReturn

from sign_ablate.jobs.warm import STREAMS, WAIT_SECONDS, address
from sign_ablate.store import fingerprint

_PR_SET_PDEATHSIG = 1
#: What jobs import. Every optimizer imports torch._dynamo when it is made, and pyarrow imports pandas
#: when it makes its first table.
_MODULES = ("sign_ablate.cli", "sign_ablate.jobs.gpu", "sign_ablate.jobs.training", "torch._dynamo", "pandas")


class Server:
    """Forks a child per connection, and tells each client how its child ended."""

    def __init__(self, owner: int, name: bytes) -> None:
        self.owner = os.pidfd_open(owner)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(name)  # OSError: another server was first
        self.listener.listen(128)  # clients may connect, and wait until it serves
        #: a client's connection → its child
        self.children: dict[socket.socket, int] = {}

    def serve(self) -> None:
        """Serve until Snakemake ends."""
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
        connection.settimeout(WAIT_SECONDS)  # a client that was stopped must not stop the others
        try:
            header, streams, _, _ = socket.recv_fds(connection, 4, len(STREAMS))
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
            for number, stream in zip(STREAMS, streams, strict=True):
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
    """Serve the jobs of the Snakemake whose process id is the argument."""
    owner = int(sys.argv[1])
    name = address(owner)
    try:
        server = Server(owner, name)
    except OSError:
        return
    for module in _MODULES:
        importlib.import_module(module)
    fingerprint.of_training()  # once for all children: of the source that was imported
    if address(owner) != name:  # an edit while it imported: it may hold some of either
        return
    # A collection in a child would write to every object that it inherits, and so copy its page.
    gc.collect()
    gc.freeze()
    server.serve()


if __name__ == "__main__":
    main()
