"""Source for the user's own images: one folder per class."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sign_ablate.config.data import ImageFolder
from sign_ablate.data import decode, digest, tree
from sign_ablate.data.common import DataError, Labels, Pixels, Source, Split


def folder(spec: ImageFolder) -> Source:
    """Load `path/train/<class>/*` and `path/test/<class>/*`. Images are grey only if all of them are.

    Within a class, images are sorted by the SHA-256 of their files.

    Raises:
        DataError: if the folder or an image cannot be used, or the digest differs from `spec.content`.
    """
    root = Path(str(spec.path))
    found = tree.scan(root, spec.classes)
    files = found.files()
    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(lambda file: _look(root / file, spec.image_size), files))
    hashes = dict(zip(files, (hashed for hashed, _ in looks), strict=True))
    _check(root, digest.combined(hashes), spec)
    grey = all(is_grey for _, is_grey in looks)
    train, test = (
        _split(root, split, classes, hashes, grey)
        for split, classes in (("train", found.train), ("test", found.test))
    )
    return Source(train, test, list(found.train))


def _check(root: Path, content: str, spec: ImageFolder) -> None:
    if spec.content not in {None, content}:
        digest.forget(root)  # the cached digest may be wrong
        raise _changed(root)


def _changed(path: Path) -> DataError:
    return DataError(
        f"{path}: changed while it was in use; run snakemake again, which trains on what is there"
    )


def _look(path: Path, size: int) -> tuple[str, bool]:
    """SHA-256 of a file, and True for a grey image."""
    data = _bytes(path)
    return hashlib.sha256(data).hexdigest(), decode.is_grey(data, str(path), size)


def _split(
    root: Path, split: str, classes: dict[str, list[str]], hashes: dict[str, str], grey: bool
) -> Split:
    # By content: renamed files are the same data set (digest.py), so they must be in the same order.
    files = [
        file
        for name, names in classes.items()
        for file in sorted((f"{split}/{name}/{one}" for one in names), key=hashes.__getitem__)
    ]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])

    def pixels(file: str) -> Pixels:
        data = _bytes(root / file)
        if hashlib.sha256(data).hexdigest() != hashes[file]:
            raise _changed(root / file)
        return decode.pixels(data, str(root / file), grey)

    def load(indices: Labels) -> Pixels:
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(pixels, [files[i] for i in indices])))

    return Split(labels.astype(np.int64), load)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); make it readable, or remove it"
        ) from None
