"""Checkpoints: where a run goes on after an interruption.

They are no outputs of Snakemake's, which deletes what a failed job declares. A checkpoint belongs to
one specification (with its NUMERICS_VERSION), to one version of this layout, and to the code that wrote it: a
run that goes on with other code would be of neither.
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
from sign_ablate.jobs.signals import stop_signals
from sign_ablate.store import fingerprint

#: Raised when the layout of a checkpoint changes.
VERSION = 2


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run was asked to stop; if it had begun, its checkpoint is written. The argument is the signal."""


def save(path: Path, spec: str, state: dict[str, Any]) -> None:
    """Write a checkpoint by way of a temporary name, on disk before it replaces the one before.

    Raises:
        OSError: it could not be written; the one before is still there.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            code = fingerprint.of_training()
            torch.save({"version": VERSION, "spec": spec, "code": code, "state": state}, file)
        except RuntimeError as error:
            # After a write that failed, torch closes its archive, and that fails with an error of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, spec: str, device: torch.device) -> dict[str, Any] | None:
    """The state in a checkpoint, or None where there is none that can be used.

    One that is truncated, corrupt, of another run or of other code is set aside as `*.unusable`, with a
    message. Where it is memory that is short, nothing is wrong with the checkpoint: that error is passed on.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} in it is not what was written")
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
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        if is_out_of_memory(error):
            raise
        set_aside(path, error)
        return None
    return state


def set_aside(path: Path, error: Exception) -> None:
    """Rename a checkpoint that cannot be used, and say so."""
    kept = path.with_name(path.name + ".unusable")
    path.replace(kept)
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    say(f"checkpoint set aside as {kept} ({reason}); the run starts over")


class StopSignal:
    """Notes SIGTERM, SIGINT and SIGHUP, and the end of the owner, for a loop that asks between steps."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._owner, self._asked = owner_pid(), time.monotonic()

    def __call__(self) -> bool:
        """Whether to stop."""
        if time.monotonic() - self._asked > 1 and self.received is None:
            self._asked = time.monotonic()
            if not is_alive(self._owner):
                self.received = signal.SIGTERM
        return self.received is not None

    def check(self) -> None:
        """Raise Interrupted where a signal was received."""
        if self() and self.received is not None:
            say(f"stopped by {self.received.name} before it began")
            raise Interrupted(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside, and put the former handlers back."""
        former = {number: signal.signal(number, self._note) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
