"""One preparation job: a data set's file, made once however many campaigns ask for it."""

from pathlib import Path

from sign_ablate.config.data import DatasetSpec
from sign_ablate.data.errors import DataError
from sign_ablate.data.prepare import prepare as write
from sign_ablate.jobs import file_lock
from sign_ablate.jobs.log import say


def prepare(spec: DatasetSpec, out: Path, *, replaces: int = 0) -> None:
    """Write the data file of `spec` to `out`, unless it is there.

    Args:
        spec: the data set.
        out: the file.
        replaces: time of modification (ns) of the file that is to be made again. One of another time was made
            since then, and stays.

    Raises:
        DataError, OSError: as `sign_ablate.data.prepare.prepare`, and DataError where memory runs out.
    """
    path = out.with_suffix(".lock")
    with file_lock.lock(path, f"{out.name}  another process is making this file; this job waits for it"):
        try:
            if out.exists() and out.stat().st_mtime_ns != replaces:
                say(f"{out.name}  is there: another process has made it")
            else:
                write(spec, out)
        except MemoryError as error:
            raise DataError(f"{out.name}: out of memory ({error}); take fewer or smaller images") from None
        finally:
            path.unlink()
