"""Out-of-memory errors. If the system kills the process instead, `run_lock` reports it to the next one."""

import contextlib
import errno
import re
from collections.abc import Iterator

import torch

from sign_ablate.jobs.run_lock import ADVICE, OutOfMemoryError

# RuntimeErrors of torch on a CPU: of its allocator, of oneDNN without memory for code or data, and of
# threads that get no stack. ImportErrors of libraries that do not fit.
CPU_MESSAGES = re.compile(
    r"can't allocate memory|could not (create a memory( object)?|create a primitive|execute a primitive)$"
    r"|can't start new thread|Resource temporarily unavailable|failed to map segment"
)


def is_out_of_memory(error: Exception) -> bool:
    """Return True if Python, or torch on a CPU or GPU, ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and CPU_MESSAGES.search(str(error)) is not None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Context manager that replaces out-of-memory errors by a one-line OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["no details"])[0]
        raise OutOfMemoryError(
            f"out of memory ({reason}). {ADVICE}, or set a smaller train.batch_size"
        ) from error
