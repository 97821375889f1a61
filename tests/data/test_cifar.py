"""Every source, and the one line that each broken source gets."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sign_ablate.config.data import CIFAR10, CIFAR100, Digits, ImageFolder, Synthetic
from sign_ablate.data import cifar
from sign_ablate.data.common import DataError
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def prepared(spec: Any, folder: Path) -> PreparedData:
    prepare(spec, folder / "prepared" / "out")
    return read(folder / "prepared" / "out")


def fails(spec: Any, folder: Path, message: str) -> None:
    out = folder / "prepared"
    out.mkdir()
    with pytest.raises(DataError, match=message) as caught:
        prepare(spec, out / "out")
    assert "\n" not in str(caught.value)
    assert list(out.iterdir()) == []


def test_digits(tmp_path: Path) -> None:
    data = prepared(Digits(), tmp_path)
    assert data.train_images.shape[1:] == (8, 8, 1)
    assert len(data.train_labels) + len(data.test_labels) == 1797
    assert 0.24 < len(data.test_labels) / 1797 < 0.25
    assert set(data.test_labels.bincount().tolist()) <= {43, 44, 45}
    assert (int(data.train_images.min()), int(data.train_images.max())) == (0, 255)


def test_synthetic(tmp_path: Path) -> None:
    data = prepared(Synthetic(classes=3, channels=1, image_size=5, noise=0), tmp_path)
    assert data.train_images.shape == (256, 5, 5, 1)
    assert list(data.classes) == ["class0", "class1", "class2"]
    assert (data.train_images[0] == data.test_images[3]).all()  # without noise: the prototype


def encode(side: int = 32, mode: str = "RGB", value: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side), (value,) * len(mode) if mode == "RGB" else value).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path: Path, labels: list[int], images: list[bytes] | None = None, column: str = "label") -> None:
    images = images or [encode(value=label) for label in labels]
    rows = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array(rows, kind), column: labels}), path, row_group_size=7)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar, "COUNTS", {"train": 40, "test": 20})
    folder = tmp_path / "shards"
    folder.mkdir()
    shard(folder / "train-00000-of-00002.parquet", [*range(10)] * 2)
    shard(folder / "train-00001-of-00002.parquet", [*range(9, -1, -1)] * 2)
    shard(folder / "test-00000-of-00001.parquet", [*range(10)] * 2)
    return folder


def test_parquet_shards(shards: Path, tmp_path: Path) -> None:
    data = prepared(CIFAR10(path=str(shards), val=10, subset=20), tmp_path)
    assert (len(data.train_labels), len(data.val_labels), len(data.test_labels)) == (20, 10, 20)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.val_images, data.val_labels),
        (data.test_images, data.test_labels),
    ):
        # an image of class k is filled with k: rows and labels belong together across shards and batches
        assert (images == labels[:, None, None, None]).all()
    assert len(data.classes) == 10


def _truncate(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def _bad_image(folder: Path) -> None:
    images = [encode()] * 19 + [encode()[:40]]
    shard(folder / "train-00001-of-00002.parquet", [*range(10)] * 2, images)


def _bad_pages(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)


def _wrong_size(folder: Path) -> None:
    shard(folder / "test-00000-of-00001.parquet", [*range(10)] * 2, [encode(31)] * 20)


BREAKAGES: list[tuple[Callable[[Path], Any], str]] = [
    (_truncate, r"train-00001-of-00002.parquet: truncated or corrupt .* get this file again"),
    (_bad_image, r"train-.*image 39 cannot be decoded .*get the shards again"),
    (_bad_pages, r"train-00001-of-00002.parquet: truncated or corrupt .* get this file again"),
    (_wrong_size, r"test-.*image 0 has 31×31 pixels, expected 32×32"),
    (
        lambda f: (f / "train-00001-of-00002.parquet").unlink(),
        r"20 train images, expected 40: a train shard is missing",
    ),
    (
        lambda f: (f / "test-00000-of-00001.parquet").unlink(),
        r"no test-\*.parquet in it; expected the layout of uoft-cs/cifar10",
    ),
    (
        lambda f: shard(f / "test-00000-of-00001.parquet", [*range(5)] * 4),
        "5 classes have images, expected 10",
    ),
    (lambda f: shard(f / "test-00000-of-00001.parquet", [12] * 20), "label 12 is out of range, .* 0 to 9"),
    (lambda f: shard(f / "test-00000-of-00001.parquet", [0] * 20, column="y"), "no column label "),
]


@pytest.mark.parametrize(("breakage", "message"), BREAKAGES)
def test_broken_shards(breakage: Callable[[Path], Any], message: str, shards: Path, tmp_path: Path) -> None:
    breakage(shards)
    fails(CIFAR10(path=str(shards)), tmp_path, message)


def test_wrong_data_set_of_the_two(shards: Path, tmp_path: Path) -> None:
    fails(CIFAR100(path=str(shards)), tmp_path, "no column fine_label .*uoft-cs/cifar100")


def test_missing_folder(tmp_path: Path) -> None:
    fails(CIFAR10(path="nowhere/at/all"), tmp_path, "nowhere/at/all: no such folder; `path:` is the folder")


@pytest.mark.parametrize(("name", "spec"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_real_cifar(name: str, spec: type[CIFAR10] | type[CIFAR100], tmp_path: Path) -> None:
    if not (REAL / name).is_dir():
        pytest.skip(f"needs the real data in {REAL / name}")
    data = prepared(spec(path=str(REAL / name), subset=1000, val=200, test_subset=500), tmp_path)
    classes = len(data.classes)
    assert data.train_labels.bincount(minlength=classes).tolist() == [1000 // classes] * classes
    assert data.test_labels.bincount(minlength=classes).tolist() == [500 // classes] * classes
    assert data.mean.tolist() == pytest.approx([0.50, 0.48, 0.45], abs=0.03)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            URLError("no route to host"),
            "in here .*no route.* give `path:`, a folder of Parquet",
        ),
        (RuntimeError("File not found or corrupted."), "in here .*corrupted.* Delete what is there"),
    ],
)
def test_download_fails(
    raised: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fake)
    fails(CIFAR10(download_dir="here"), tmp_path, message)


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        classes = tuple("abcdefghij")

        def __init__(self, root: str, train: bool, download: bool) -> None:
            assert download
            self.targets = [*range(10)] * (4 if train else 2)
            self.data = np.full((len(self.targets), 32, 32, 3), 9 if train else 1, dtype=np.uint8)

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    data = prepared(CIFAR10(), tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (40, 20)
    assert list(data.classes) == list("abcdefghij")
    assert data.mean.tolist() == pytest.approx([9 / 255] * 3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for part, count in (("train", 4), ("test", 2)):
        for value, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                (folder / part / name / f"{number}.png").write_bytes(encode(6, value=value))
    return folder


def of(images: Path, **options: Any) -> ImageFolder:
    return ImageFolder(path=str(images), **{"image_size": 6, "classes": 2, **options})


def test_image_folder(images: Path, tmp_path: Path) -> None:
    data = prepared(of(images, val=2), tmp_path)
    assert list(data.classes) == ["cat", "dog"]
    assert data.train_images.shape == (6, 6, 6, 3)
    assert (data.train_images == data.train_labels[:, None, None, None]).all()


def test_grey_among_colour_becomes_rgb(images: Path, tmp_path: Path) -> None:
    (images / "train" / "cat" / "0.png").write_bytes(encode(6, "L", 100))
    data = prepared(of(images), tmp_path)
    assert data.train_images.shape == (8, 6, 6, 3)
    assert (data.train_images[0] == 100).all()


def test_all_grey_keeps_one_channel(images: Path, tmp_path: Path) -> None:
    for file in images.rglob("*.png"):
        file.write_bytes(encode(6, "L", 50))
    assert prepared(of(images), tmp_path).channels == 1


def _clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


FOLDERS: list[tuple[Callable[[Path], Any], dict[str, int], str]] = [
    (lambda f: (f / "train/dog/2.png").write_bytes(b"no"), {}, r"train/dog/2.png: not a readable image"),
    (lambda f: (f / "test/dog/1.png").write_bytes(encode(6)[:45]), {}, r"test/dog/1.png"),
    (lambda f: _clear(f / "train/cat"), {}, r"train/cat: no images in it"),
    (lambda f: (f / "test/dog").rename(f / "test/emu"), {}, "class dog is in only one of train/ and test/"),
    (lambda f: None, {"classes": 3}, r"2 class folders, but classes: 3"),
    (lambda f: None, {"image_size": 8}, r"6×6 pixels, but image_size: 8"),
    (lambda f: (f / "test").rename(f / "tset"), {}, r"test: no such folder"),
]


@pytest.mark.parametrize(("breakage", "options", "message"), FOLDERS)
def test_broken_folder(
    breakage: Callable[[Path], Any], options: dict[str, int], message: str, images: Path, tmp_path: Path
) -> None:
    breakage(images)
    fails(of(images, **options), tmp_path, message)


def test_missing_image_folder(tmp_path: Path) -> None:
    fails(of(tmp_path / "none"), tmp_path, "no such folder; a folder source holds train")
