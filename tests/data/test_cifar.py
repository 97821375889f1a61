"""CIFAR from two sources that must agree, and the errors for broken sources."""

import dataclasses
import hashlib
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

from sign_ablate.config.data import CIFAR10, CIFAR100
from sign_ablate.data.cifar_facts import FACTS
from sign_ablate.data.common import DataError, Labels, Pixels
from sign_ablate.data.prepare import prepare
from sign_ablate.jobs.file_lock import try_lock
from tests.data.helpers import encode, fails, prepared

REAL = Path(__file__).parents[2].parent / "shared" / "data"
IMG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, images: Any, labels: Any, column: str = "label", kind: Any = IMG) -> None:
    rows = [{"bytes": image, "path": None} if isinstance(image, bytes) else image for image in images]
    pq.write_table(pa.table({"img": pa.array(rows, kind), column: labels}), path, row_group_size=7)


def draw(seed: int, count: int, classes: int = 10) -> tuple[Pixels, Labels]:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % classes
    pixels[:, 0, 0, 0] = labels  # so that a test can match pixels and labels
    return pixels, labels


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def digest(pixels: Pixels, labels: Labels) -> str:
    """Digest by the definition in docs/data.md, with the labels as a column before the pixels."""
    rows = np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(len(pixels), -1)], axis=1)
    hashes = np.sort(np.array([hashlib.sha256(row).hexdigest() for row in rows]))
    return hashlib.sha256(bytes.fromhex("".join(hashes))).hexdigest()


TRAIN, TEST = draw(1, 40), draw(2, 20)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 of 60 images, which passes for the published one in this test."""
    digests = {"train": digest(*TRAIN), "test": digest(*TEST)}
    small = dataclasses.replace(FACTS["cifar10"], digests=digests, counts={"train": 40, "test": 20})
    monkeypatch.setitem(FACTS, "cifar10", small)
    return put(tmp_path / "shards", [range(40)], range(20))


def put(folder: Path, train: list[Any], test: Any) -> Path:
    """Write Parquet shards with these rows."""
    folder.mkdir()
    for number, rows in enumerate(train):
        images, labels = (part[[*rows]] for part in TRAIN)
        write(folder / f"train-{number:05}.parquet", map(png, images), labels)
    images, labels = (part[[*test]] for part in TEST)
    write(folder / "test-00000.parquet", map(png, images), labels)
    return folder


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torchvision's data set of the same images in another order, with other class names."""
    monkeypatch.chdir(tmp_path)  # where it locks the folder `here`

    class Fake:
        classes = tuple("abcdefghij")

        def __init__(self, root: str, train: bool, download: bool) -> None:
            assert download
            assert not try_lock(Path(root, ".download.lock")), "two jobs would download at the same time"
            pixels, labels = TRAIN if train else TEST
            self.data, self.targets = pixels[::-1], labels[::-1].tolist()

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)


def test_rows_and_labels_belong_together(shards: Path, tmp_path: Path) -> None:
    data = prepared(CIFAR10(path=str(shards), val=10, subset=20), tmp_path)
    assert (len(data.train_labels), len(data.val_labels), len(data.test_labels)) == (20, 10, 20)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.val_images, data.val_labels),
        (data.test_images, data.test_labels),
    ):
        assert (images[:, 0, 0, 0] == labels).all()
    assert data.classes[:2] == ("airplane", "automobile")


@pytest.mark.parametrize("options", [{}, {"val": 10, "subset": 20, "split_seed": 3}])
def test_every_source_and_order_gives_the_same_file(
    options: dict[str, int], shards: Path, torchvision: None, tmp_path: Path
) -> None:
    shuffled = np.random.default_rng(0).permutation(40)
    resharded = put(tmp_path / "resharded", [shuffled[:7], shuffled[7:9], shuffled[9:]], range(19, -1, -1))
    files = []
    for spec in (CIFAR10(path=str(shards)), CIFAR10(path=str(resharded)), CIFAR10(download_dir="here")):
        prepare(spec.model_copy(update=options), tmp_path / "out")
        files.append((tmp_path / "out").read_bytes())
    assert files[0] == files[1] == files[2]


def one_pixel(folder: Path) -> None:
    images, labels = TRAIN[0].copy(), TRAIN[1]
    images[3, 5, 5, 2] ^= 1
    write(folder / "train-00000.parquet", map(png, images), labels)


def one_label(folder: Path) -> None:
    labels = TRAIN[1].copy()
    labels[3] = 9
    write(folder / "train-00000.parquet", map(png, TRAIN[0]), labels)


def one_image_twice(folder: Path) -> None:
    write(folder / "train-00000.parquet", [png(TRAIN[0][max(i, 10)]) for i in range(40)], TRAIN[1])


@pytest.mark.parametrize("breakage", [one_pixel, one_label, one_image_twice])
def test_other_data_than_the_published_are_refused(
    breakage: Callable[[Path], None], shards: Path, tmp_path: Path
) -> None:
    breakage(shards)
    message = r"train-\*.parquet: not the published images and labels .* get the files again"
    fails(CIFAR10(path=str(shards)), tmp_path, message)


def truncate(folder: Path) -> None:
    path = folder / "train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def bad_pages(folder: Path) -> None:
    path = folder / "train-00000.parquet"
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)


def of_test(images: Any = None, labels: Any = None, **options: Any) -> Callable[[Path], None]:
    """Replace some of the 20 test images or labels; a single image goes into row 13."""
    good = [encode()] * 20
    chosen = images if isinstance(images, list) else [*good[:13], images or encode(), *good[14:]]
    chosen_labels = [*range(10)] * 2 if labels is None else labels
    return lambda folder: write(folder / "test-00000.parquet", chosen, chosen_labels, **options)


def two_columns(folder: Path) -> None:
    table = pq.read_table(folder / "test-00000.parquet")
    pq.write_table(table.append_column("label", table["label"]), folder / "test-00000.parquet")


def other_schema(folder: Path) -> None:
    """Second train shard with labels as text."""
    write(folder / "train-00001.parquet", [encode()] * 2, ["0", "1"])


NULLS: list[Any] = [*range(7), None, None, *range(9), 0, 1]
BREAKAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate, r"train-00000.parquet: truncated or corrupt .* get this file again"),
    "bad pages": (bad_pages, r"train-00000.parquet: truncated or corrupt .* get this file again"),
    "folder in place of a file": (
        lambda f: ((f / "test-00000.parquet").unlink(), (f / "test-00000.parquet").mkdir()),
        r"test-00000.parquet: truncated or corrupt .* get this file again",
    ),
    "truncated image": (
        of_test(encode()[:60]),
        r"test-00000.parquet: image 13: not a readable image .*get the file again",
    ),
    "no image": (of_test(b"text"), r"image 13: not a readable image \(its format is unknown\); get the file"),
    "wrong size": (of_test(encode(31)), r"test-00000.parquet: image 13 has 31×31 pixels, expected 32×32"),
    "grey": (of_test(encode(mode="L")), r"image 13 has mode L, expected 8-bit RGB"),
    "16 bits": (of_test(encode(mode="I;16")), r"image 13 has mode I;16, expected 8-bit RGB"),
    "palette": (of_test(encode(mode="P")), r"image 13 has mode P, expected 8-bit RGB"),
    "null image": (
        of_test({"bytes": None, "path": "a.png"}),
        r"test-00000.parquet: column img: 1 of 20 rows have no image, the first is row 13; get this file",
    ),
    "null row": (of_test([None] + [encode()] * 19), r"column img: 1 of 20 rows .* the first is row 0"),
    "null labels": (
        of_test(labels=NULLS),
        r"test-00000.parquet: column label: 2 of 20 rows have no label, the first is row 7; get this file",
    ),
    "float labels": (
        of_test(labels=[label + 0.75 for label in [*range(10)] * 2]),
        r"test-00000.parquet: column label is of type double, expected int64 \(0 to 9\); is this the right",
    ),
    "text labels": (of_test(labels=["cat"] * 20), r"column label is of type string, expected int64"),
    "bool labels": (of_test(labels=[True] * 20), r"column label is of type bool, expected int64"),
    "shards of different schemas": (
        other_schema,
        r"train-00001.parquet: column label is of type string, expected int64",
    ),
    "images as bytes": (
        of_test(["x"] * 20, kind=pa.string()),
        r"column img is of type string, expected struct<bytes: binary, path: string>; is this the right",
    ),
    "column twice": (two_columns, r"test-00000.parquet: two columns label \(it has img, label, label\)"),
    "no column": (of_test(column="y"), r"test-00000.parquet: no column label \(it has img, y\)"),
    "label out of range": (of_test(labels=[12] * 20), r"label 12 is out of range, allowed: 0 to 9; is this"),
    "negative label": (of_test(labels=[-1] * 20), r"label -1 is out of range, allowed: 0 to 9"),
    "huge label": (of_test(labels=pa.array([2**63] * 20, pa.uint64())), r"label 9223372036854775808 is out"),
    "missing shard": (
        lambda f: write(f / "train-00000.parquet", [encode()] * 20, [*range(10)] * 2),
        r"20 train images, expected 40: a train shard is missing or duplicated",
    ),
    "no test shard": (
        lambda f: (f / "test-00000.parquet").unlink(),
        r"no test-\*.parquet in it; expected the layout of uoft-cs/cifar10",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_shards(name: str, shards: Path, tmp_path: Path) -> None:
    breakage, message = BREAKAGES[name]
    breakage(shards)
    fails(CIFAR10(path=str(shards)), tmp_path, message)


def test_wrong_data_set_of_the_two(shards: Path, tmp_path: Path) -> None:
    fails(CIFAR100(path=str(shards)), tmp_path, r"train-00000.parquet: no column fine_label \(it has")


def test_folder_whose_name_looks_like_a_partition(shards: Path, tmp_path: Path) -> None:
    odd = tmp_path / "label=3"
    shards.rename(odd)
    assert len(prepared(CIFAR10(path=str(odd)), tmp_path).train_labels) == 40


def test_missing_folder(tmp_path: Path) -> None:
    fails(CIFAR10(path="nowhere/at/all"), tmp_path, "nowhere/at/all: no such folder; `path:` is the folder")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spec"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_real_cifar(name: str, spec: type[CIFAR10] | type[CIFAR100], tmp_path: Path) -> None:
    if not (REAL / name).is_dir():
        pytest.skip(f"needs the real data in {REAL / name}")
    data = prepared(spec(path=str(REAL / name), subset=1000, val=200, test_subset=500), tmp_path)
    classes = len(data.classes)
    assert data.train_labels.bincount(minlength=classes).tolist() == [1000 // classes] * classes
    assert data.test_labels.bincount(minlength=classes).tolist() == [500 // classes] * classes
    assert data.mean.tolist() == pytest.approx([0.50, 0.48, 0.45], abs=0.03)


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_classes_are_in_alphabetical_order(name: str, classes: int) -> None:
    names = FACTS[name].classes
    assert len(set(names)) == classes
    assert list(names) == sorted(names)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            URLError("no route to host"),
            "in here .*no route.* give `path:`, a folder of Parquet",
        ),
        (RuntimeError("File not found or corrupted."), "in here .*corrupted.* Delete what is there"),
        (RuntimeError(), r"in here \(RuntimeError\).*Delete what is there"),
    ],
)
def test_download_fails(
    raised: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fake)
    monkeypatch.chdir(tmp_path)
    fails(CIFAR10(download_dir="here"), tmp_path, message)


def test_other_download_than_the_published_is_refused(
    shards: Path, torchvision: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.data.test_cifar.TEST", draw(3, 20))
    with pytest.raises(DataError, match=r"torchvision in here, test images: not the published images"):
        prepare(CIFAR10(download_dir="here"), tmp_path / "out")
