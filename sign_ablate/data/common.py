"""What every source of images shares."""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sign_ablate.data.errors import DataError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Split:
    """Training or test images. The labels are known; pixels are decoded for the chosen rows only."""

    #: (n,)
    labels: Labels
    #: ascending row numbers (k,) → uint8 (k, height, width, channels)
    pixels: Callable[[Labels], Pixels]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set before anything is chosen from it."""

    train: Split
    test: Split
    classes: list[str]
    description: str


def in_memory(images: Pixels, labels: Labels) -> Split:
    """A split whose images (n, height, width, channels) are already decoded."""
    return Split(labels.astype(np.int64), lambda rows: images[rows])


def check_labels(labels: Labels, classes: int, where: str, hint: str) -> None:
    """Raise DataError unless labels are in 0…classes-1 and every class occurs."""
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(f"{where}: label {outside[0]} is out of range, allowed: 0 to {classes - 1}; {hint}")
    found = len(np.unique(labels))
    if found != classes:
        raise DataError(f"{where}: {found} classes have images, expected {classes}; {hint}")
