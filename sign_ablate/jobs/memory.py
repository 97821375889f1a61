"""Out-of-memory errors. If the system kills the process instead, `run_lock` tells the next process."""

import contextlib
from collections.abc import Iterator

import torch

from sign_ablate.jobs.run_lock import ADVICE, OutOfMemoryError


def is_out_of_memory(error: Exception) -> bool:
    """Return True if Python, or torch on a CPU or GPU, ran out of memory."""
    # On a CPU, torch raises a bare RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Context manager that replaces out-of-memory errors by a one-line OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["no details"])[0]
        raise OutOfMemoryError(
            f"out of memory ({reason}). {ADVICE}, or set a smaller train.batch_size"
        ) from error
