"""Reader for the data file that `prepare` wrote, for training jobs."""

import dataclasses
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sign_ablate.data.common import DataError

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A prepared data set: images (n, height, width, channels) uint8, labels (n,) int64; val may be empty.

    `mean` and `std`, (channels,) float32, are those of the training images, as fractions of 255.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor
    classes: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Number of channels: 1 for grey, 3 for colour."""
        return int(self.train_images.shape[3])


def read(path: Path) -> PreparedData:
    """Read a file that `prepare` wrote, and verify every byte of it.

    Raises:
        DataError: if the file is missing, unreadable, truncated or altered.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        classes = tuple(arrays.pop("classes").tolist())
        arrays.pop("code", None)
        return PreparedData(**{name: torch.from_numpy(a) for name, a in arrays.items()}, classes=classes)
    except FileNotFoundError:
        raise DataError(f"{path}: no such data file; run snakemake again, which makes it") from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); make it readable, or delete it and run "
            "snakemake again"
        ) from None
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, *_ZIP_ERRORS) as error:
        raise DataError(f"{path}: corrupt ({error}); delete it and run snakemake again") from None
