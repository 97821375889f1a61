"""Size of a data set, from its options and without decoding an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder
from sign_ablate.data import tree
from sign_ablate.data.errors import DataError

#: images per class of scikit-learn's digits; every fourth image of a class is a test image
DIGITS_TRAIN = (134, 137, 133, 138, 136, 137, 136, 135, 131, 135)
DIGITS_TEST = (44, 45, 44, 45, 45, 45, 45, 44, 43, 45)


class Shape(NamedTuple):
    """Number and size of a run's training images."""

    #: training images, without those held out by `val`
    train_images: int
    #: height and width in pixels
    image_size: int


class Counts(NamedTuple):
    """Number of images per class in the whole source."""

    train: Sequence[int]
    test: Sequence[int]


def shape_of(spec: DatasetSpec) -> Shape | None:
    """Return the shape of a data set, or None for an image folder that does not exist or cannot be used."""
    counts = counts_of(spec)
    if counts is None:
        return None
    if isinstance(spec, Digits):
        size = 8
    elif isinstance(spec, CIFAR10 | CIFAR100):
        size = 32
    else:
        size = spec.image_size
    return Shape(spec.subset or sum(counts.train) - spec.val, size)


def counts_of(spec: DatasetSpec) -> Counts | None:
    """Return the counts of a data set, or None for an image folder that does not exist or cannot be used."""
    if isinstance(spec, Digits):
        return Counts(DIGITS_TRAIN, DIGITS_TEST)
    if isinstance(spec, CIFAR10 | CIFAR100):
        classes = 100 if isinstance(spec, CIFAR100) else 10
        return Counts([50_000 // classes] * classes, [10_000 // classes] * classes)
    if isinstance(spec, ImageFolder):
        try:
            found = tree.scan(Path(str(spec.path)), spec.classes)
        except DataError:
            return None
        return Counts([len(c) for c in found.train.values()], [len(c) for c in found.test.values()])
    return Counts(
        [len(range(label, spec.train_images, spec.classes)) for label in range(spec.classes)],
        [len(range(label, spec.test_images, spec.classes)) for label in range(spec.classes)],
    )


def count_problems(spec: DatasetSpec) -> Iterator[str]:
    """Yield an error line for each of `val`, `subset` and `test_subset` that exceeds the source.

    Only values that are impossible for every random draw are reported. `prepare` draws the classes that
    contribute one image more than others, and reports the remaining cases.
    """
    counts = counts_of(spec)
    if counts is None:
        return
    train, classes = counts.train, len(counts.train)
    most = _most([n - 1 for n in train])  # one of each class is trained on
    if spec.val > max(most, 0):
        yield f"val = {spec.val}: of the {sum(train)} training images, at most {most} can be held out"
    else:
        rest = [n - spec.val // classes for n in train]
        yield from _too_many("subset", spec.subset, rest, "training images")
    yield from _too_many("test_subset", spec.test_subset, counts.test, "test images")


def _too_many(key: str, value: int | None, counts: Sequence[int], what: str) -> Iterator[str]:
    if value is not None and value > _most(counts):
        yield (
            f"{key} = {value}: at most {_most(counts)} of the {sum(counts)} {what} can be taken in equal "
            "shares of the classes"
        )


def _most(counts: Sequence[int]) -> int:
    """Largest number of images that can be taken with class shares that differ by at most one."""
    least = min(counts)
    return least * len(counts) + sum(n > least for n in counts)
