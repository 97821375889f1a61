"""Your own images: one folder per class."""

from pathlib import Path

import numpy as np

from sign_ablate.config.data import ImageFolder
from sign_ablate.data.common import DataError, Labels, Pixels, Source, Split

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def folder(spec: ImageFolder) -> Source:
    """`path/train/<class>/*` and `path/test/<class>/*`. Grey only if all images are. Raises DataError."""
    root = Path(spec.path)
    train, test = (_files(root / name) for name in ("train", "test"))
    classes = tuple(train)
    if len(classes) != spec.classes:
        raise DataError(
            f"{root}/train: {len(classes)} class folders, but classes: {spec.classes}; found {_some(classes)}"
        )
    if set(test) != set(classes):
        odd = sorted(set(test) ^ set(classes))
        raise DataError(f"{root}: class {odd[0]} is in only one of train/ and test/; both need all classes")
    files = [path for part in (train, test) for paths in part.values() for path in paths]
    channels = 1 if all(_is_grey(path) for path in files) else 3
    first, second = (_split(part, classes, spec.image_size, channels) for part in (train, test))
    return Source(first, second, list(classes), str(root))


def _files(root: Path) -> dict[str, list[Path]]:
    """Class → its files, both in alphabetical order."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; a folder source holds train/<class>/ and test/<class>/")
    found = {}
    for child in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found[child.name] = sorted(path for path in child.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found[child.name]:
            raise DataError(f"{child}: no images in it ({', '.join(sorted(SUFFIXES))}); fill or remove it")
    return found


def _is_grey(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in {"1", "L", "I;16"}
    except OSError as error:
        raise _unreadable(path, error) from None


def _split(part: dict[str, list[Path]], classes: tuple[str, ...], size: int, channels: int) -> Split:
    files = [path for name in classes for path in part[name]]
    labels = np.repeat(np.arange(len(classes)), [len(part[name]) for name in classes])

    def load(indices: Labels) -> Pixels:
        return np.stack([_read(files[i], size, channels) for i in indices])

    return Split(labels.astype(np.int64), load)


def _read(path: Path, size: int, channels: int) -> Pixels:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None
    if pixels.shape[:2] != (size, size):
        raise DataError(
            f"{path}: {pixels.shape[1]}×{pixels.shape[0]} pixels, but image_size: {size}; resize it, or set "
            f"image_size to what all images have"
        )
    return pixels.reshape(size, size, channels)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a readable image ({error}); replace or remove it")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "none"
