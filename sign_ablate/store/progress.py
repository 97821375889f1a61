"""`progress.json`: the epoch that an unfinished run has reached, and how its last attempt ended.

A training job replaces the file after each epoch, and deletes it when the run is done. Imports no pyarrow:
Snakemake's process reads it where a job has failed.
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
    #: whether a second attempt would end the same way
    final: bool = False
    #: traceback, for an error that nobody foresaw
    details: str = ""


class Progress(BaseModel):
    """The content of `progress.json`. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    #: start of this attempt, and time of this record
    started: float
    updated: float
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    test_acc: float | None = None
    #: mean of the epochs of this attempt; None before the first
    seconds_per_epoch: float | None = None
    #: None while the run is trained, and after a kill
    failure: Failure | None = None


def read(folder: Path) -> Progress | None:
    """The progress of the run of `folder`; None where there is none, or it cannot be read."""
    try:
        return Progress.model_validate_json((folder / PROGRESS).read_bytes())
    except (OSError, ValidationError):
        return None


def write(folder: Path, progress: Progress) -> None:
    """Replace the file in one step. A disk that is full costs the record, not the run."""
    path = folder / PROGRESS
    temporary = path.with_name(f"{PROGRESS}.tmp")
    try:
        temporary.write_text(progress.model_dump_json(indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove(folder: Path) -> None:
    """Delete the file, if there is one."""
    with contextlib.suppress(OSError):
        (folder / PROGRESS).unlink(missing_ok=True)
