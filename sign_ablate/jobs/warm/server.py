"""Warm server: forks a child for each job (`python -m sign_ablate.jobs.warm.server PID KIND`)."""

import contextlib
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

from sign_ablate.jobs.parent import die_with
from sign_ablate.jobs.warm import NOTEBOOKS, STREAMS, TRAINING, WAIT_SECONDS, address
from sign_ablate.store import fingerprint

#: Modules that jobs import. Constructing an optimizer imports torch._dynamo, and pyarrow imports pandas for
#: its first table. Notebooks save figures in three formats, and the report is exported.
_MODULES = {
    TRAINING: (
        "sign_ablate.cli",
        "sign_ablate.jobs.gpu",
        "sign_ablate.jobs.training",
        "torch._dynamo",
        "pandas",
    ),
    NOTEBOOKS: (
        "sign_ablate.cli",
        "sign_ablate.analysis.notebook",
        "sign_ablate.analysis.figures",
        "sign_ablate.analysis.report",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_pdf",
        "matplotlib.backends.backend_svg",
        "nbconvert",
    ),
}


class Server:
    """Forks a child for each connection, and sends the child's exit status to the client."""

    def __init__(self, owner: int, name: bytes) -> None:
        self.owner = os.pidfd_open(owner)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(name)  # OSError: another server was first
        self.listener.listen(128)  # clients may connect before it serves
        #: connection to a client → process id of its child
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
        connection.settimeout(WAIT_SECONDS)  # a stopped client must not block the others
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
        # The descriptor becomes readable when the child ends.
        self.selector.register(
            os.pidfd_open(child), selectors.EVENT_READ, lambda fd: self._end(fd, connection)
        )

    def _hear(self, connection: socket.socket) -> None:
        """Pass a client's signal on to its child, or kill the child if the client is gone."""
        if connection not in self.children:
            return  # the child has ended since `select`
        try:
            numbers = connection.recv(16)
        except OSError:
            numbers = b""
        for number in numbers or bytes([signal.SIGKILL]):
            os.kill(self.children[connection], number)
        if not numbers:
            self.selector.unregister(connection)

    def _end(self, descriptor: int, connection: socket.socket) -> None:
        """Send the exit status of a child to its client."""
        self.selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(self.children.pop(connection), 0)
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        connection.close()

    def _run(self, request: dict[str, Any], streams: list[int], server: int) -> NoReturn:
        """Run the command in the child and exit. The kernel sends SIGTERM if the server ends."""
        code = 1
        try:
            die_with(server, signal.SIGTERM)
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
        except BaseException:  # as in a process of its own, the traceback goes to the job's log
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
    """Serve the jobs of one kind of the Snakemake whose process id is the first command-line argument."""
    owner, kind = int(sys.argv[1]), sys.argv[2]
    name = address(owner, kind)
    try:
        server = Server(owner, name)
    except OSError:
        return
    for module in _MODULES[kind]:
        importlib.import_module(module)
    if kind == TRAINING:
        fingerprint.of_training()  # cached for all children, for the imported source
    if (
        address(owner, kind) != name
    ):  # the source was edited during the imports: old and new code may be mixed
        return
    # Garbage collection in a child would write to all inherited objects, and so copy their memory pages.
    gc.collect()
    gc.freeze()
    server.serve()


if __name__ == "__main__":
    main()
