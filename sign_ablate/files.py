"""Atomic file writes, and advice for errors of the file system."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager that yields a temporary path, and renames it to `path` on success.

    On any failure `path` is unchanged and the temporary file is deleted, which also frees a full disk.

    Raises:
        OSError: if the file could not be written. The error names `path`, unlike that of a failed write.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut can leave an empty file
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def advice(error: BaseException) -> str:
    """Advice to append to the message of a file-system error; empty for any other error."""
    found = _ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"; {found}, then run the same command again (what is done stays done)" if found else ""
