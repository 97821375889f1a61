"""Types shared by all sources of images."""

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
    """Training or test images of a source. Pixels are decoded on demand, for the chosen rows only."""

    #: labels of all rows, (n,)
    labels: Labels
    #: function from ascending row numbers (k,) to uint8 pixels (k, height, width, channels)
    pixels: Callable[[Labels], Pixels]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as published, before subsets and a validation split are chosen."""

    train: Split
    test: Split
    classes: list[str]


def in_memory(images: Pixels, labels: Labels) -> Split:
    """Split of images (n, height, width, channels) that are already decoded."""
    return Split(labels.astype(np.int64), lambda rows: images[rows])
