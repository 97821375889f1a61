"""Reader for Parquet shards of encoded images, in the layout of uoft-cs/cifar10 and uoft-cs/cifar100."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sign_ablate.data import decode
from sign_ablate.data.common import DataError, Labels, Pixels
from sign_ablate.data.errors import reason

if TYPE_CHECKING:
    import pyarrow as pa

HINT = "is this the right data set?"


def read(shard: Path, column: str, classes: int, size: int) -> tuple[Pixels, Labels]:
    """Read the images (n, size, size, 3) of a shard and their labels (0 to classes - 1) in `column`.

    Raises:
        DataError: if the file is corrupt, has another layout, or has rows without an image or a label.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(shard) as file:
            _check_layout(shard, file.schema_arrow, column, classes)
            table = file.read(columns=["img", column])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard}: truncated or corrupt ({reason(error)}); get this file again") from None
    encoded = pc.struct_field(table["img"], "bytes")
    for name, values, what in (("img", encoded, "image"), (column, table[column], "label")):
        if values.null_count:
            row = values.is_null().to_numpy().argmax()
            raise DataError(
                f"{shard}: column {name}: {values.null_count} of {len(values)} rows have no {what}, the "
                f"first is row {row}; get this file again"
            )
    labels = table[column].to_numpy()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(
            f"{shard}: column {column}: label {outside[0]} is out of range, allowed: 0 to {classes - 1}; "
            f"{HINT}"
        )
    images = np.empty((len(labels), size, size, 3), dtype=np.uint8)
    for row, data in enumerate(encoded):
        images[row] = decode.rgb8(data.as_py(), f"{shard}: image {row}", size)
    return images, labels.astype(np.int64)


def _check_layout(shard: Path, schema: "pa.Schema", column: str, classes: int) -> None:
    from pyarrow import types

    for name in ("img", column):
        if schema.names.count(name) != 1:
            times = "two columns" if name in schema.names else "no column"
            raise DataError(f"{shard}: {times} {name} (it has {', '.join(schema.names)}); {HINT}")
    label = schema.field(column).type
    if not types.is_integer(label):
        raise DataError(
            f"{shard}: column {column} is of type {label}, expected int64 (0 to {classes - 1}); {HINT}"
        )
    image = schema.field("img").type
    fields = {field.name: field.type for field in image} if types.is_struct(image) else {}
    encoded = fields.get("bytes")
    if encoded is None or not (types.is_binary(encoded) or types.is_large_binary(encoded)):
        raise DataError(
            f"{shard}: column img is of type {image}, expected struct<bytes: binary, path: string>; {HINT}"
        )
