"""Preparation job: writes the data file of a data set, once for all campaigns."""

from pathlib import Path

from sign_ablate.config.data import DatasetSpec
from sign_ablate.data.errors import DataError
from sign_ablate.data.prepare import prepare as write
from sign_ablate.jobs import file_lock
from sign_ablate.jobs.log import say


def prepare(spec: DatasetSpec, out: Path, *, replaces: int = 0) -> None:
    """Write the data file of `spec` to `out`, unless another process has written it.

    Args:
        spec: the data set.
        out: the file to write.
        replaces: modification time (ns) of the file to replace. A file with another time was written by
            another process in the meantime and is kept.

    Raises:
        DataError, OSError: as in `sign_ablate.data.prepare.prepare`. DataError also if memory runs out.
    """
    path = out.with_suffix(".lock")
    with file_lock.lock(path, f"{out.name}  another process is making this file; this job waits for it"):
        try:
            if out.exists() and out.stat().st_mtime_ns != replaces:
                say(f"{out.name}  exists: another process has made it")
            else:
                write(spec, out)
        except MemoryError as error:
            raise DataError(f"{out.name}: out of memory ({error}); take fewer or smaller images") from None
        finally:
            path.unlink()
