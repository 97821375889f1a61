"""Checkpoints, from which an interrupted run resumes.

They are not declared as outputs, because Snakemake deletes the outputs of a failed job. A checkpoint is valid
for one run specification (including NUMERICS_VERSION), one version of its layout, and the code that wrote it:
a run that resumed with other code would not be reproducible with either.
"""

import contextlib
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sign_ablate.files import replacing
from sign_ablate.jobs.log import say
from sign_ablate.jobs.memory import is_out_of_memory
from sign_ablate.jobs.parent import is_alive, owner_pid
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.jobs.signals import stop_signals
from sign_ablate.store import fingerprint

#: Bump when the layout of a checkpoint changes.
VERSION = 4


class UnreadableError(JobError):
    """A checkpoint cannot be read at the moment. It is not final."""

    final = False


class Interrupted(Exception):  # noqa: N818 - not an error
    """Raised when a signal stops a run. A run that had begun has a checkpoint. Argument: the signal."""


def save(path: Path, spec: str, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically. It is synced to disk before it replaces the previous one.

    Raises:
        OSError: if it could not be written. The previous checkpoint is kept.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            code = fingerprint.of_training()
            torch.save({"version": VERSION, "spec": spec, "code": code, "state": state}, file)
        except RuntimeError as error:
            # After a failed write, torch closes its archive, which raises a RuntimeError of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, spec: str, device: torch.device) -> dict[str, Any] | None:
    """Load the state in a checkpoint. Returns None if there is no usable checkpoint.

    A checkpoint that is truncated, corrupt, or of another run or other code is renamed to `*.unusable`, with
    a message. Out-of-memory errors are raised, since the checkpoint is not at fault.

    Raises:
        UnreadableError: if the file system fails.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not verify the checksums
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"its entry {damaged} is corrupt")
        stored = torch.load(path, map_location=device, weights_only=True)
        if stored["version"] != VERSION:
            raise ValueError(f"its layout is version {stored['version']}, this is {VERSION}")
        if stored["spec"] != spec:
            raise ValueError("it belongs to another run")
        if stored["code"] != fingerprint.of_training():
            raise ValueError("the code that makes its numbers has changed since")
        state: dict[str, Any] = stored["state"]
    except FileNotFoundError:
        return None
    except Exception as error:  # the exception type depends on the place of the damage
        if is_out_of_memory(error):
            raise
        if isinstance(error, OSError) and error.errno and not isinstance(error, IsADirectoryError):
            # such as a network file system that does not answer: the checkpoint is not at fault
            raise UnreadableError(f"{path}: cannot be read ({error.strerror}); it is kept") from None
        set_aside(path, error)
        return None
    return state


def set_aside(path: Path, error: Exception) -> None:
    """Rename an unusable checkpoint and log it."""
    kept = path.with_name(path.name + ".unusable")
    path.replace(kept)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    say(f"checkpoint set aside as {kept} ({reason}); the run starts over")


class StopSignal:
    """Records SIGTERM, SIGINT and SIGHUP, and the end of the owner, for a loop that polls between steps."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._owner, self._asked = owner_pid(), time.monotonic()

    def __call__(self) -> bool:
        """Return True if the run should stop."""
        if time.monotonic() - self._asked > 1 and self.received is None:
            self._asked = time.monotonic()
            if not is_alive(self._owner):
                self.received = signal.SIGTERM
        return self.received is not None

    def check(self) -> None:
        """Raise Interrupted if a signal was received."""
        if self() and self.received is not None:
            say(f"stopped by {self.received.name} before it began")
            raise Interrupted(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)  # Ctrl-C is followed by Snakemake's SIGTERM

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Context manager that handles the signals, and restores the former handlers at its end."""
        former = {number: signal.signal(number, self._note) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
