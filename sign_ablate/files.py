"""Files that are whole or not there, and what to do where one cannot be written."""

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
    """A temporary name to write to; the file becomes `path` at the end.

    Whatever fails, `path` stays what it was, and nothing is left that would keep a full disk full.

    Raises:
        OSError: it could not be written. It names the file, which a failed write alone does not.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut can leave the name without the content
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def advice(error: BaseException) -> str:
    """What to do about an error of the file system, to stand behind its message; empty for any other."""
    found = _ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"; {found}, then run the same command again (what is done stays done)" if found else ""
