"""Too little memory, where the system says so. Where it kills instead, `lock` tells the next process."""

import contextlib
from collections.abc import Iterator

import torch

from sign_ablate.jobs.run_lock import ADVICE, OutOfMemoryError


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on either kind of device, had no memory for something."""
    # On a CPU, torch raises a bare RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say in one line what ran out.

    Raises:
        OutOfMemoryError: in place of the errors for which `is_out_of_memory` holds.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["no details"])[0]
        raise OutOfMemoryError(
            f"out of memory ({reason}). {ADVICE}, or set a smaller train.batch_size"
        ) from error
