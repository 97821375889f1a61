"""Image folders: the images that are read, and the errors for those that are refused."""

import inspect
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.config.data import ImageFolder
from sign_ablate.data import digest, folder
from sign_ablate.data.common import DataError
from tests.conftest import ROOT
from tests.data.helpers import encode, fails, prepared


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


def test_16_bits_are_not_white(images: Path, tmp_path: Path) -> None:
    for file in images.rglob("*.png"):
        file.write_bytes(encode(6, "I;16", 257 * 90))
    data = prepared(of(images), tmp_path)
    assert data.channels == 1
    assert (data.train_images == 90).all()
    (images / "test" / "dog" / "0.png").write_bytes(encode(6))  # one colour image
    data = prepared(of(images), tmp_path)
    assert (data.train_images == 90).all()
    assert data.train_images.shape[-1] == 3


def clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def nested(images: Path) -> None:
    (images / "train/cat/sub").mkdir()
    (images / "train/cat/sub/x.png").write_bytes(encode(6))


def link(target: str, name: str) -> Callable[[Path], None]:
    return lambda images: (images / name).symlink_to(target)


BROKEN: dict[str, tuple[Callable[[Path], Any], dict[str, int], str]] = {
    "no image": (
        lambda f: (f / "train/dog/2.png").write_bytes(b"no"),
        {},
        r"train/dog/2.png: not a readable image",
    ),
    "truncated": (
        lambda f: (f / "test/dog/1.png").write_bytes(encode(6)[:45]),
        {},
        r"test/dog/1.png: not a readable",
    ),
    "empty class": (lambda f: clear(f / "train/cat"), {}, r"train/cat: no images in it \(\.bmp, .*; fill or"),
    "class in one of two": (
        lambda f: (f / "test/dog").rename(f / "test/emu"),
        {},
        "class dog is in only one of train/ and test/",
    ),
    "other number of classes": (
        lambda f: None,
        {"classes": 3},
        r"2 class folders, but classes: 3; found cat, dog",
    ),
    "other size": (lambda f: None, {"image_size": 8}, r"6×6 pixels, but image_size: 8"),
    "no test": (lambda f: (f / "test").rename(f / "tset"), {}, r"test: no such folder"),
    "nested folder": (nested, {}, r"train/cat/sub: a folder within a class; move its images to .*train/cat,"),
    "image without class": (
        lambda f: (f / "train/x.png").write_bytes(encode(6)),
        {},
        r"train/x.png: an image outside the class folders; move it to .*train/<class>/",
    ),
    "link to the whole": (link("..", "train/loop"), {}, r"train/loop/test: a folder within a class; move"),
    "link to itself": (link("x.png", "train/cat/x.png"), {}, r"cat/x.png: cannot be read \(Too many levels"),
    "link to nothing": (
        link("gone", "test/cat/x.png"),
        {},
        r"test/cat/x.png: cannot be read \(No such file or directory\); make it readable, or remove it",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folder(name: str, images: Path, tmp_path: Path) -> None:
    breakage, options, message = BROKEN[name]
    breakage(images)
    fails(of(images, **options), tmp_path, message)


def test_missing_image_folder(tmp_path: Path) -> None:
    fails(of(tmp_path / "none"), tmp_path, "no such folder; a folder source holds train")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable(images: Path, tmp_path: Path) -> None:
    (images / "train/cat/0.png").chmod(0)
    fails(of(images), tmp_path, r"train/cat/0.png: cannot be read \(Permission denied\); make it readable")
    (images / "train/cat").chmod(0)
    with pytest.raises(DataError, match=r"train/cat: cannot be read \(Permission denied\); make it readable"):
        digest.identified(of(images))
    (images / "train/cat").chmod(0o700)


def test_hidden_files_and_folders_are_left_out(images: Path, tmp_path: Path) -> None:
    (images / "train/.cache").mkdir()
    (images / "train/cat/.ipynb_checkpoints").mkdir()
    (images / "train/cat/.0.png").write_bytes(b"no image")
    assert len(prepared(of(images), tmp_path).train_labels) == 8


def test_images_that_changed_since_they_were_identified_are_refused(images: Path, tmp_path: Path) -> None:
    spec = digest.identified(of(images))
    assert len(prepared(spec, tmp_path).train_labels) == 8
    (images / "test/dog/1.png").write_bytes(encode(6, value=99))
    message = rf"^{images}: changed while it was in use; run snakemake again, which trains on what is there$"
    (tmp_path / "prepared" / "out").unlink()
    (tmp_path / "prepared").rmdir()
    fails(spec, tmp_path, message)


def test_image_that_changes_while_it_is_read_is_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = folder._look

    def look(path: Path, size: int) -> tuple[str, bool]:
        found = looked(path, size)
        if path.match("train/dog/3.png"):
            path.write_bytes(encode(6, value=99))
        return found

    monkeypatch.setattr(folder, "_look", look)
    fails(of(images), tmp_path, r"train/dog/3.png: changed while it was in use; run snakemake again")


def test_renamed_images_are_the_same_data_in_the_same_order(images: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted(images.rglob("*.png"))):
        file.write_bytes(encode(6, value=number))
    before, content = prepared(of(images, val=2), tmp_path / "a"), digest.identified(of(images)).content
    for number, file in enumerate(sorted(images.rglob("*.png"))):
        file.rename(file.with_name(f"renamed-{99 - number}.png"))
    after = prepared(of(images, val=2), tmp_path / "b")
    for name in ("train_images", "train_labels", "val_images", "test_images"):
        assert getattr(before, name).equal(getattr(after, name)), name
    assert digest.identified(of(images)).content == content


def test_path_that_is_no_image_folder(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    fails(of(file), tmp_path, f"^{file}: a file, where a folder is expected; a folder source holds train/")
    (tmp_path / "prepared").rmdir()
    fails(of(tmp_path), tmp_path, f"^{tmp_path}: neither train/ nor test/ in it; a folder source holds")


def test_digest_is_what_sha256sum_says(images: Path) -> None:
    (images / "train/cat-2").mkdir()  # "-" sorts before "/": paths and folders sort differently
    (images / "test/cat-2").mkdir()
    for name in ("train/cat-2/ä b.png", "test/cat-2/new\nline.png"):
        (images / name).write_bytes(encode(6))
    command = (
        "find train test -type f -print0 | xargs -0 sha256sum -z |\n"
        "    LC_ALL=C sed -z 's|/[^/]*$||' | LC_ALL=C sort -z | sha256sum"
    )
    try:
        done = subprocess.run(command, shell=True, cwd=images, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError:
        pytest.skip("there is no sha256sum -z")
    assert digest.identified(of(images, classes=3)).content == done.stdout.split()[0]
    assert command in inspect.cleandoc(digest.__doc__ or "").replace("\n    ", "\n")
    assert command in (ROOT / "docs/data.md").read_text()
