"""`progress.json`: the epoch that an unfinished run has reached, and the end of its last attempt.

A training job replaces the file after each epoch and deletes it when the run is finished. Snakemake's process
reads it after a failure, so this module does not import pyarrow.
"""

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sign_ablate.store.layout import PROGRESS


class Failure(BaseModel):
    """The end of an attempt that did not finish the run."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["interrupted", "failed"]
    cause: str
    #: True if a second attempt would fail in the same way
    final: bool = False
    #: traceback of an unexpected error
    details: str = ""


class Progress(BaseModel):
    """The content of `progress.json`. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    #: start of this attempt
    started: float
    #: time of this record
    updated: float
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    test_acc: float | None = None
    #: mean over the epochs of this attempt; None before the first has ended
    seconds_per_epoch: float | None = None
    #: None while the run is trained, and after the process was killed
    failure: Failure | None = None


def read(folder: Path) -> Progress | None:
    """Read the progress of the run in `folder`. Return None if the file is missing or cannot be read."""
    try:
        return Progress.model_validate_json((folder / PROGRESS).read_bytes())
    except (OSError, ValidationError):
        return None


def write(folder: Path, progress: Progress) -> None:
    """Replace the file atomically. Errors such as a full disk are ignored, so that training continues."""
    path = folder / PROGRESS
    temporary = path.with_name(f"{PROGRESS}.tmp")
    try:
        temporary.write_text(progress.model_dump_json(indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove(folder: Path) -> None:
    """Delete the file if it exists."""
    with contextlib.suppress(OSError):
        (folder / PROGRESS).unlink(missing_ok=True)
