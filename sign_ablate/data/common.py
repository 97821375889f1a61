"""What every source of images shares."""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sign_ablate.data.errors import DataError

__all__ = ["DataError", "Labels", "Pixels", "Source", "Split", "in_memory"]

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


def in_memory(images: Pixels, labels: Labels) -> Split:
    """A split whose images (n, height, width, channels) are already decoded."""
    return Split(labels.astype(np.int64), lambda rows: images[rows])
