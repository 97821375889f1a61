"""Size of a data set, from its options alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder, Synthetic
from sign_ablate.data.cifar_facts import FACTS
from sign_ablate.data.errors import DataError
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.data.shape import count_problems, counts_of, shape_of
from sign_ablate.data.sources import load
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


def test_counts_are_those_of_the_source(images: Path) -> None:
    mine = ImageFolder(path=str(images), image_size=6, classes=2)
    for spec in (Digits(), Synthetic(train_images=101, test_images=50), mine):
        source, counts = load(spec), counts_of(spec)
        assert counts is not None
        for labels, expected in ((source.train.labels, counts.train), (source.test.labels, counts.test)):
            assert np.bincount(labels).tolist() == list(expected)
    for name, facts in FACTS.items():
        cifar = counts_of(CIFAR10() if name == "cifar10" else CIFAR100())
        assert cifar is not None
        assert (sum(cifar.train), sum(cifar.test)) == (facts.counts["train"], facts.counts["test"])


@pytest.mark.parametrize(
    ("spec", "most", "message"),
    [
        (Synthetic(), {"subset": 256}, "subset = 257: at most 256 of the 256 training images can be taken"),
        (Synthetic(), {"val": 252}, "val = 253: of the 256 training images, at most 252 can be held out"),
        (Synthetic(val=100), {"subset": 156}, "subset = 157: at most 156 of the 156 training images"),
        (Synthetic(), {"test_subset": 128}, "test_subset = 129: at most 128 of the 128 test images"),
        (Digits(), {"subset": 1319}, "subset = 1320: at most 1319 of the 1352 training images"),
        (Digits(), {"val": 1309}, "val = 1310: of the 1352 training images, at most 1309 can be held out"),
        (CIFAR100(), {"val": 49_900}, "val = 49901: of the 50000 training images, at most 49900"),
    ],
)
def test_more_images_than_there_are(
    spec: DatasetSpec, most: dict[str, int], message: str, tmp_path: Path
) -> None:
    ((key, value),) = most.items()
    assert list(count_problems(spec.model_copy(update=most))) == []
    (line,) = count_problems(spec.model_copy(update={key: value + 1}))
    assert line.startswith(message)
    if not isinstance(spec, CIFAR100):
        with pytest.raises(DataError, match=f"{key} = {value + 1}: "):
            prepare(spec.model_copy(update={key: value + 1}), tmp_path / "out")


def test_more_images_than_a_folder_has(images: Path) -> None:
    spec = ImageFolder(path=str(images), image_size=6, classes=2, subset=9)
    assert list(count_problems(spec)) == [
        "subset = 9: at most 8 of the 8 training images can be taken in equal shares of the classes"
    ]
    assert list(count_problems(spec.model_copy(update={"path": "nowhere"}))) == []


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
