"""Your own images: one folder per class."""

from pathlib import Path

import numpy as np

from sign_ablate.config.data import ImageFolder
from sign_ablate.data import tree
from sign_ablate.data.common import DataError, Labels, Pixels, Source, Split


def folder(spec: ImageFolder) -> Source:
    """`path/train/<class>/*` and `path/test/<class>/*`. Grey only if all images are. Raises DataError."""
    root = Path(spec.path)
    found = tree.scan(root, spec.classes)
    channels = 1 if all(_is_grey(root / file) for file in found.files()) else 3
    train, test = (
        _split(root / name, classes, spec.image_size, channels)
        for name, classes in (("train", found.train), ("test", found.test))
    )
    return Source(train, test, list(found.train), str(root))


def _is_grey(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in {"1", "L", "I;16"}
    except OSError as error:
        raise _unreadable(path, error) from None


def _split(root: Path, classes: dict[str, list[str]], size: int, channels: int) -> Split:
    files = [root / name / file for name, files in classes.items() for file in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])

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
