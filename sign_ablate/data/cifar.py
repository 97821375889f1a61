"""CIFAR-10 and CIFAR-100: torchvision's checked download, or a folder of Parquet shards."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sign_ablate.config.data import CIFAR, CIFAR100
from sign_ablate.data.common import DataError, Labels, Pixels, Source, Split, check_labels, in_memory

if TYPE_CHECKING:
    import pyarrow as pa

COUNTS = {"train": 50_000, "test": 10_000}
SIZE = 32


def cifar(spec: CIFAR) -> Source:
    """The data set from `spec.path` if that is given, else from torchvision. Raises DataError."""
    return _parquet(spec) if spec.path is not None else _torchvision(spec)


def _class_count(spec: CIFAR) -> int:
    return 100 if isinstance(spec, CIFAR100) else 10


def _torchvision(spec: CIFAR) -> Source:
    from torchvision import datasets

    dataset = datasets.CIFAR100 if isinstance(spec, CIFAR100) else datasets.CIFAR10
    try:
        train, test = (dataset(spec.download_dir, train=train, download=True) for train in (True, False))
    except Exception as error:  # a network error has many types, and a wrong checksum is a RuntimeError
        raise DataError(
            f"{dataset.__name__}: torchvision could not download or verify it in {spec.download_dir} "
            f"({str(error).splitlines()[0]}). Delete what is there and try again with a network, or give "
            f"`path:`, a folder of Parquet shards (train-*.parquet, test-*.parquet)"
        ) from None
    first, second = (in_memory(part.data, np.asarray(part.targets)) for part in (train, test))
    return Source(first, second, list(train.classes), f"{dataset.__name__} (torchvision)")


def _parquet(spec: CIFAR) -> Source:
    folder, classes = Path(str(spec.path)), _class_count(spec)
    column = "fine_label" if isinstance(spec, CIFAR100) else "label"
    splits = []
    for name, count in COUNTS.items():
        labels, images = _read_shards(folder, name, column, classes)
        if len(labels) != count:
            raise DataError(
                f"{folder}: {len(labels):,} {name} images, expected {count:,}: a {name} shard is missing or "
                f"stands twice"
            )
        check_labels(
            labels, classes, f"{folder}/{name}-*.parquet, column {column}", "is this the right data set?"
        )
        splits.append(_encoded(images, labels, f"{folder}/{name}-*.parquet"))
    first, second = splits
    return Source(first, second, [str(label) for label in range(classes)], f"CIFAR-{classes} ({folder})")


def _read_shards(folder: Path, name: str, column: str, classes: int) -> "tuple[Labels, pa.ChunkedArray]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; `path:` is the folder that holds {name}-*.parquet")
    shards = sorted(folder.glob(f"{name}-*.parquet"))
    if not shards:
        raise DataError(f"{folder}: no {name}-*.parquet in it; expected the layout of uoft-cs/cifar{classes}")
    tables = []
    for shard in shards:
        try:
            schema = pq.read_schema(shard)
            missing = {"img", column} - set(schema.names)
            if missing:
                raise DataError(
                    f"{shard}: no column {', '.join(sorted(missing))} (it has {', '.join(schema.names)}); "
                    f"expected the layout of uoft-cs/cifar{classes}: is this the right data set?"
                )
            tables.append(pq.read_table(shard, columns=["img", column]))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{shard}: truncated or corrupt ({str(error).splitlines()[0]}); get this file again"
            ) from None
    table = pa.concat_tables(tables)
    return table[column].to_numpy().astype(np.int64), table["img"]


def _encoded(images: "pa.ChunkedArray", labels: Labels, where: str) -> Split:
    def load(indices: Labels) -> Pixels:
        out = np.empty((len(indices), SIZE, SIZE, 3), dtype=np.uint8)
        for position, record in enumerate(images.take(indices).to_pylist()):
            out[position] = _decode(record, f"{where}: image {indices[position]}")
        return out

    return Split(labels, load)


def _decode(record: dict[str, Any] | None, where: str) -> Pixels:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO((record or {})["bytes"]))
        size = image.size
        pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises what each of its decoders raises
        raise DataError(f"{where} cannot be decoded ({error}); get the shards again") from None
    if size != (SIZE, SIZE):
        raise DataError(f"{where} has {size[0]}×{size[1]} pixels, expected {SIZE}×{SIZE}")
    return pixels
