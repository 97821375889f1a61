"""Preparation of a data set: one verified uint8 file, which all of its runs read.

The file is an uncompressed .npz: the zip's CRC covers every byte, NumPy writes no date into it, and it loads
at the speed of a copy. Only the sources need heavy imports, and a training job does not import them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sign_ablate.config.data import Dataset, DatasetSpec
from sign_ablate.data import sources
from sign_ablate.data.common import DataError, Labels, Pixels
from sign_ablate.files import replacing
from sign_ablate.store import fingerprint


def prepare(spec: DatasetSpec, out: Path) -> None:
    """Write the data file of `spec` to `out`. A failure leaves no partial file.

    Raises:
        DataError: if the source is missing or broken, or has too few images.
        OSError: if the file cannot be written.
    """
    code = fingerprint.of_decoding()  # before the work: a file may be edited meanwhile
    source = sources.load(spec)
    train, val = _choose_train(source.train.labels, spec, source.classes)
    test = np.arange(len(source.test.labels))
    if spec.test_subset is not None:
        rng = _random(spec, 1)
        test = _balanced(
            source.test.labels, test, spec.test_subset, rng=rng, key="test_subset", classes=source.classes
        )
    images = source.train.pixels(train)
    mean, std = _moments(images)
    arrays: dict[str, NDArray[Any]] = {
        "train_images": images,
        "train_labels": source.train.labels[train],
        "val_images": source.train.pixels(val) if len(val) else images[:0],
        "val_labels": source.train.labels[val],
        "test_images": source.test.pixels(test),
        "test_labels": source.test.labels[test],
        "mean": mean.astype(np.float32),
        "std": np.where(std > 0, std, 1).astype(np.float32),  # a constant channel stays constant
        "classes": np.array(source.classes),
        "code": np.array(code),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary, temporary.open("wb") as file:  # savez appends .npz to a path
        np.savez(file, allow_pickle=False, **arrays)


def _moments(images: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel as fractions of 255, exact and without a float copy."""
    values = np.arange(256) / 255
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    mean = counts @ values / counts[0].sum()
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / counts[0].sum())
    std[np.count_nonzero(counts, axis=1) == 1] = 0  # a constant, whose computed mean is rounded
    return mean, std


def _choose_train(labels: Labels, spec: Dataset, classes: list[str]) -> tuple[Labels, Labels]:
    """Disjoint indices of training and validation images. The latter do not depend on `subset`."""
    every = np.arange(len(labels))
    rng = _random(spec, 0)
    val = _balanced(labels, every, spec.val, rng=rng, key="val", classes=classes)
    rest = np.setdiff1d(every, val)
    if len(np.unique(labels[rest])) < len(classes):
        raise DataError(f"val = {spec.val}: leaves a class without training images; there are {len(labels)}")
    if spec.subset is None:
        return rest, val
    return _balanced(labels, rest, spec.subset, rng=rng, key="subset", classes=classes), val


def _balanced(
    labels: Labels, among: Labels, count: int, *, rng: np.random.RandomState, key: str, classes: list[str]
) -> Labels:
    """Choose `count` of the indices `among`, sorted, with equally many of each class (±1)."""
    quota = np.full(len(classes), count // len(classes))
    quota[rng.permutation(len(classes))[: count % len(classes)]] += 1
    chosen = []
    for label, name in enumerate(classes):
        members = among[labels[among] == label]
        if len(members) < quota[label]:
            raise DataError(
                f"{key} = {count}: needs {quota[label]} images of class {name}, there are {len(members)}; at "
                f"most {_most(labels, among, len(classes))} are possible with equally many of each class"
            )
        chosen.append(rng.permutation(members)[: quota[label]])
    return np.sort(np.concatenate(chosen))


def _random(spec: Dataset, purpose: int) -> np.random.RandomState:
    """Random generator for one purpose. RandomState's stream is frozen across NumPy versions."""
    return np.random.RandomState([spec.split_seed, purpose])


def _most(labels: Labels, among: Labels, classes: int) -> int:
    return int(np.bincount(labels[among], minlength=classes).min()) * classes
