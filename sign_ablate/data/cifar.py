"""CIFAR-10 and CIFAR-100 from torchvision's download or from Parquet shards. Both give the same bytes."""

import hashlib
from pathlib import Path

import numpy as np

from sign_ablate.config.data import CIFAR10, CIFAR100
from sign_ablate.data import parquet, tree
from sign_ablate.data.cifar_facts import FACTS, Facts
from sign_ablate.data.common import DataError, Labels, Pixels, Source, Split, in_memory
from sign_ablate.data.errors import reason
from sign_ablate.jobs import file_lock

SIZE = 32


def cifar(spec: CIFAR10 | CIFAR100) -> Source:
    """Load the data set from `spec.path` if it is set, otherwise with torchvision.

    Images are sorted by digest, so that both sources give the same order.

    Raises:
        DataError: if it cannot be read, or is not the published data set.
    """
    facts = FACTS[spec.source]
    train, test = _parquet(Path(spec.path), facts) if spec.path is not None else _torchvision(spec, facts)
    return Source(train, test, list(facts.classes))


def _torchvision(spec: CIFAR10 | CIFAR100, facts: Facts) -> list[Split]:
    from torchvision import datasets

    dataset = datasets.CIFAR100 if isinstance(spec, CIFAR100) else datasets.CIFAR10
    lock = Path(spec.download_dir, ".download.lock")
    try:
        # two data files of one download, such as two subsets, may be prepared at the same time
        with file_lock.lock(lock, f"{lock.parent}: waiting for another download"):
            try:
                parts = [dataset(spec.download_dir, train=train, download=True) for train in (True, False)]
            finally:
                lock.unlink()
    except Exception as error:  # a network error has many types, and a wrong checksum is a RuntimeError
        raise DataError(
            f"{dataset.__name__}: torchvision could not download or verify it in {spec.download_dir} "
            f"({reason(error)}). Delete what is there and try again with a network, or give "
            f"`path:`, a folder of Parquet shards (train-*.parquet, test-*.parquet)"
        ) from None
    where = f"{dataset.__name__} of torchvision in {spec.download_dir}"
    return [
        _canonical(part.data, np.asarray(part.targets), facts, split, f"{where}, {split} images")
        for split, part in zip(tree.SPLITS, parts, strict=True)
    ]


def _canonical(images: Pixels, labels: Labels, facts: Facts, split: str, where: str) -> Split:
    """Verify the images of a split and sort them by digest, independently of the order of the source."""
    each = [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest()
        for label, image in zip(labels.tolist(), images, strict=True)
    ]
    digest = hashlib.sha256(b"".join(sorted(each))).hexdigest()
    if digest != facts.digests[split]:
        raise DataError(
            f"{where}: not the published images and labels (digest {digest:.10}…, expected "
            f"{facts.digests[split]:.10}…); get the files again"
        )
    order = sorted(range(len(each)), key=each.__getitem__)
    return in_memory(images[order], labels[order])


def _parquet(folder: Path, facts: Facts) -> list[Split]:
    splits = []
    for split in tree.SPLITS:
        paths = sorted(folder.glob(f"{split}-*.parquet"))
        shards = [parquet.read(path, facts.column, len(facts.classes), SIZE) for path in paths]
        labels = np.concatenate([labels for _, labels in shards])
        expected = facts.counts[split]
        if len(labels) != expected:
            raise DataError(
                f"{folder}: {len(labels):,} {split} images, expected {expected:,}: a {split} shard is "
                f"missing or duplicated"
            )
        images = np.concatenate([images for images, _ in shards])
        splits.append(_canonical(images, labels, facts, split, f"{folder}/{split}-*.parquet"))
    return splits
