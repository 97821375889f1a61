"""Size of a data set, from its options alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder, Synthetic
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.data.shape import shape_of
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "spec",
    [
        Digits(),
        Digits(val=100),
        Digits(subset=200, val=100),
        Synthetic(train_images=100, image_size=5),
        Synthetic(val=12),
    ],
)
def test_shape_is_that_of_the_prepared_file(spec: DatasetSpec, tmp_path: Path) -> None:
    prepare(spec, tmp_path / "out")
    count, height, width, _ = read(tmp_path / "out").train_images.shape
    assert shape_of(spec) == (count, height) == (count, width)


def test_shape_of_an_image_folder(images: Path, tmp_path: Path) -> None:
    spec = ImageFolder(path=str(images), image_size=6, classes=2, val=2)
    prepare(spec, tmp_path / "out")
    assert shape_of(spec) == read(tmp_path / "out").train_images.shape[:2] == (6, 6)
    assert shape_of(spec.model_copy(update={"path": "nowhere"})) is None
    assert shape_of(spec.model_copy(update={"classes": 3})) is None


@pytest.mark.parametrize("spec", [CIFAR10, CIFAR100])
def test_shape_of_cifar_needs_no_data(spec: type[CIFAR10] | type[CIFAR100]) -> None:
    assert shape_of(spec()) == (50_000, 32)
    assert shape_of(spec(val=5000)) == (45_000, 32)
    assert shape_of(spec(subset=5000, val=5000)) == (5000, 32)


def test_what_the_snakefile_needs_of_the_data_is_imported_at_once() -> None:
    code = (
        "import sys, sign_ablate.data.shape; "
        "print([m for m in ('numpy', 'torch', 'pyarrow', 'PIL', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
