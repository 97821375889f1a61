"""Content digest of an image folder. It identifies the folder's runs, independently of its path.

The digest depends on the bytes, classes and splits of the images, not on their file names. It is the SHA-256
of the sorted lines of `sha256sum -z` for all images, without the names of the files. Where there are no other
files:

    cd data/mine && find train test -type f -print0 | xargs -0 sha256sum -z |
        LC_ALL=C sed -z 's|/[^/]*$||' | LC_ALL=C sort -z | sha256sum
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sign_ablate.config.data import ImageFolder
from sign_ablate.data import tree
from sign_ablate.data.errors import DataError
from sign_ablate.jobs.log import complain
from sign_ablate.store import layout

#: cache of digests: one file per image folder, with its digest and the state of its files at that time
NOTES = layout.data_folder(layout.RESULTS) / "digests"
#: Bump when the digest of the same images changes: cached digests of other versions are not used.
DIGEST_VERSION = 2
#: A digest is cached only if no file changed within this time. File systems have coarse clocks, so a file
#: could change again without a new modification time.
SETTLED_NS = 2 * 10**9
#: size in bytes above which a log line announces the reading of a folder
LARGE = 2**30


def identified(spec: ImageFolder) -> ImageFolder:
    """Return `spec` with the digest of its folder as `content`.

    If the folder does not exist, the last known digest is used, with a warning.

    Raises:
        DataError: if the folder cannot be used, or its digest differs from `spec.content`.
    """
    if spec.path is None:
        return spec
    root = Path(spec.path)
    if not tree.exists(root):
        known = spec.content or _note(root).get("content")
        if known is None:
            raise tree.missing(root)
        complain(
            f"sign-ablate: warning: {root}: no such folder; its last known digest is used ({known:.10}…)"
        )
        return spec.model_copy(update={"content": known})
    content = _content(root, spec.classes)
    if spec.content not in {None, content}:
        raise DataError(
            f"content = {spec.content!r}: the images in {root} have the digest {content}; restore them, or "
            f"remove this key to train on what is there"
        )
    return spec.model_copy(update={"content": content})


def combined(hashes: Mapping[str, str]) -> str:
    """Digest of a folder, from the hexadecimal SHA-256 of each file by its path `split/class/name`."""
    lines = (f"{sha256}  ".encode() + os.fsencode(os.path.dirname(file)) for file, sha256 in hashes.items())
    return hashlib.sha256(b"".join(line + b"\0" for line in sorted(lines))).hexdigest()


def forget(root: Path) -> None:
    """Delete the cached digest of a folder, so that its files are read again."""
    with contextlib.suppress(OSError):
        _note_path(root).unlink()


def _content(root: Path, classes: int) -> str:
    found = tree.scan(root, classes)
    if found.ignored:
        complain(
            f"sign-ablate: warning: {root}: {len(found.ignored)} files have no image suffix and are ignored: "
            f"{tree.some(found.ignored)}"
        )
    files = found.files()
    states = _states(root, files)
    state = hashlib.sha256(repr((DIGEST_VERSION, states)).encode()).hexdigest()
    note = _note(root)
    if note.get("state") == state:
        return note["content"]
    size = sum(values[0] for values in states.values())
    if size > LARGE:
        complain(
            f"sign-ablate: reading {len(files):,} images in {root} ({size / 2**30:.1f} GiB) for their digest"
        )
    now = time.time_ns()
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda file: _hash(root / file), files)
        content = combined(dict(zip(files, hashes, strict=True)))
    settled = max(max(values[1:]) for values in states.values()) < now - SETTLED_NS
    _write_note(root, {"content": content, "state": state if settled else ""})
    return content


def _states(root: Path, files: list[str]) -> dict[str, tuple[int, int, int]]:
    """Size, mtime and ctime of each file. The ctime changes even if a tool restores the mtime."""
    states = {}
    for file in files:
        try:
            status = os.stat(root / file)
        except OSError as error:
            raise _unreadable(error) from None
        states[file] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return states


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename}: cannot be read ({error.strerror}); make it readable, or remove it")


def _note_path(root: Path) -> Path:
    return NOTES / f"{hashlib.sha256(os.fsencode(os.path.normpath(root))).hexdigest()[:16]}.json"


def _note(root: Path) -> dict[str, str]:
    """Cached digest and state of a folder; empty if there is no readable cache file."""
    try:
        values = json.loads(_note_path(root).read_text(encoding="utf-8"))
        return {key: str(values[key]) for key in ("content", "state")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_note(root: Path, values: dict[str, str]) -> None:
    """Write the cache file atomically. If that fails, the digest is computed again the next time."""
    path = _note_path(root)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"path": str(root), **values}, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
