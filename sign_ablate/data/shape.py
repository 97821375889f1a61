"""Size of a data set, from its options and without decoding an image."""

from pathlib import Path
from typing import NamedTuple

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder
from sign_ablate.data import tree
from sign_ablate.data.errors import DataError

#: training images of scikit-learn's digits: 1,797 without every fourth image of each class
DIGITS = 1352


class Shape(NamedTuple):
    """Number and size of a run's training images."""

    #: training images, without those held out by `val`
    train_images: int
    #: height and width in pixels
    image_size: int


def shape_of(spec: DatasetSpec) -> Shape | None:
    """Return the shape of a data set, or None for an image folder that does not exist or cannot be used."""
    if isinstance(spec, Digits):
        images, size = DIGITS, 8
    elif isinstance(spec, CIFAR10 | CIFAR100):
        images, size = 50_000, 32
    elif isinstance(spec, ImageFolder):
        if spec.path is None:
            return None
        try:
            found = tree.scan(Path(spec.path), spec.classes)
        except DataError:
            return None
        images, size = sum(map(len, found.train.values())), spec.image_size
    else:
        images, size = spec.train_images, spec.image_size
    return Shape(spec.subset or images - spec.val, size)
