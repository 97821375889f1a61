"""Check that the images of a data set exist, before any job."""

from pathlib import Path

from sign_ablate.config.data import CIFAR, DatasetSpec, ImageFolder
from sign_ablate.data import tree
from sign_ablate.data.errors import DataError


def check(spec: DatasetSpec) -> None:
    """Raise DataError if the images of `spec` do not exist. Reads folders, but no image."""
    if isinstance(spec, ImageFolder):
        if spec.path is None:
            raise DataError("a folder source without `path:`; its images are needed")
        if not tree.exists(Path(spec.path)):
            raise tree.missing(Path(spec.path))
    elif isinstance(spec, CIFAR) and spec.path is not None:
        folder = Path(spec.path)
        if not folder.is_dir():
            problem = "a file, where a folder is expected" if folder.exists() else "no such folder"
            raise DataError(f"{folder}: {problem}; `path:` is the folder that holds train-*.parquet")
        for split in tree.SPLITS:
            if not any(folder.glob(f"{split}-*.parquet")):
                raise DataError(
                    f"{folder}: no {split}-*.parquet in it; expected the layout of uoft-cs/{spec.source}"
                )
