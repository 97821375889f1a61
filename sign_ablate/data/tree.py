"""File names of an image folder, `train/<class>/<file>` and `test/<class>/<file>`. No file is opened.

The Snakefile imports this module on every start, so it imports only the standard library.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from sign_ablate.data.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Tree:
    """Image names by class, both in alphabetical order. Hidden files and folders are ignored."""

    train: dict[str, list[str]]
    test: dict[str, list[str]]
    #: paths of files without an image suffix, relative to the root
    ignored: list[str]

    def files(self) -> list[str]:
        """Paths of all images relative to the root: training images first, class by class."""
        return [
            f"{split}/{name}/{file}"
            for split, classes in zip(SPLITS, (self.train, self.test), strict=True)
            for name, files in classes.items()
            for file in files
        ]


def exists(root: Path) -> bool:
    """Return True if `root` contains `train/` or `test/`. An empty mount point is not an image folder."""
    return any((root / split).is_dir() for split in SPLITS)


def missing(root: Path) -> DataError:
    """Error for an image folder that does not exist, or holds no splits."""
    problem = "no such folder"
    if root.is_dir():
        problem = "neither train/ nor test/ in it"
    elif root.exists():
        problem = "a file, where a folder is expected"
    return DataError(f"{root}: {problem}; a folder source holds train/<class>/ and test/<class>/")


def scan(root: Path, classes: int) -> Tree:
    """Find the images below `root`, which must have `classes` classes.

    Raises:
        DataError: if a folder is missing, empty or nested, or the classes are not as expected.
    """
    ignored: list[str] = []
    train, test = (_split(root, split, ignored) for split in SPLITS)
    if len(train) != classes:
        raise DataError(
            f"{root}/train: {len(train)} class folders, but classes: {classes}; found {some(list(train))}"
        )
    odd = sorted(set(test) ^ set(train))
    if odd:
        raise DataError(f"{root}: class {odd[0]} is in only one of train/ and test/; both need all classes")
    return Tree(train, test, ignored)


def some(names: list[str]) -> str:
    """First five of `names`, for a message."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "none"


def _split(root: Path, split: str, ignored: list[str]) -> dict[str, list[str]]:
    folder = root / split
    if not folder.is_dir():
        raise missing(folder)
    found = {}
    for name, is_folder in _entries(folder):
        if is_folder:
            found[name] = _images(folder / name, f"{split}/{name}", ignored)
        elif _is_image(name):
            raise DataError(
                f"{folder / name}: an image outside the class folders; move it to {folder}/<class>/"
            )
        else:
            ignored.append(f"{split}/{name}")
    return found


def _images(folder: Path, where: str, ignored: list[str]) -> list[str]:
    images = []
    for name, is_folder in _entries(folder):
        if is_folder:
            raise DataError(
                f"{folder / name}: a folder within a class; move its images to {folder}, or remove it"
            )
        if _is_image(name):
            images.append(name)
        else:
            ignored.append(f"{where}/{name}")
    if not images:
        raise DataError(f"{folder}: no images in it ({', '.join(sorted(SUFFIXES))}); fill or remove it")
    return images


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield each name in a folder, in alphabetical order, with True for a subfolder."""
    try:
        with os.scandir(folder) as entries:
            yield from sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:  # no permission, or a link to itself
        raise DataError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); make it readable, or remove it"
        ) from None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
