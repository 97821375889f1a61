"""Prepared files: choice of images, determinism, integrity."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sign_ablate.config.data import Digits, Synthetic
from sign_ablate.data.common import DataError
from sign_ablate.data.prepare import _moments, prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.store import fingerprint
from sign_ablate.terminal.outdated import data_code


def chosen(folder: Path, **options: int) -> PreparedData:
    prepare(Synthetic(train_images=100, **options), folder / "out")
    return read(folder / "out")


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_kept_and_held_out_are_balanced_and_disjoint(tmp_path: Path) -> None:
    data = chosen(tmp_path, subset=40, val=12)
    assert data.train_labels.bincount().tolist() == [10] * 4
    assert data.val_labels.bincount().tolist() == [3] * 4
    assert len(rows(data.train_images) | rows(data.val_images)) == 52
    data = chosen(tmp_path, val=12)
    assert len(rows(data.train_images) | rows(data.val_images)) == 100


def test_uneven_numbers_differ_by_one_per_class(tmp_path: Path) -> None:
    data = chosen(tmp_path, subset=42, val=7)
    for labels, total in ((data.train_labels, 42), (data.val_labels, 7)):
        counts = labels.bincount(minlength=4)
        assert counts.sum() == total
        assert counts.max() - counts.min() == 1


def test_constant_channel_has_no_deviation() -> None:
    """Its computed mean is rounded, so its deviation would be 1e-18 for some values."""
    for value in range(256):
        images = np.full((300, 8, 8, 3), value, np.uint8)
        images[..., 1] = np.arange(64).reshape(8, 8)
        mean, std = _moments(images)
        assert (std[0], std[2]) == (0, 0)
        assert mean[0] == pytest.approx(value / 255)
        assert std[1] == pytest.approx(images[..., 1].std() / 255)


def test_choice_is_a_function_of_the_seed(tmp_path: Path) -> None:
    a, b, c = (rows(chosen(tmp_path, subset=40, split_seed=seed).train_images) for seed in (0, 0, 1))
    assert a == b != c


def test_held_out_images_stay_when_the_subset_grows(tmp_path: Path) -> None:
    small, large = (rows(chosen(tmp_path, subset=n, val=8).val_images) for n in (20, 60))
    assert small == large


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": 257}, "subset = 257: .* at most 256"),
        ({"val": 253}, "val = 253: leaves a class without training images"),
        ({"subset": 200, "val": 100}, "subset = 200: .* at most 156"),
        ({"test_subset": 1000}, "test_subset = 1000: .* at most 128"),
    ],
)
def test_too_few_images(options: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepare(Synthetic(**options), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_most_that_a_message_names_is_possible(tmp_path: Path) -> None:
    prepare(Synthetic(subset=156, val=100), tmp_path / "out")
    data = read(tmp_path / "out")
    assert (len(data.train_labels), len(data.val_labels)) == (156, 100)


def test_file_records_the_code_that_made_it(tmp_path: Path) -> None:
    prepare(Synthetic(), tmp_path / "out.npz")
    assert data_code(tmp_path / "out.npz") == fingerprint.of_decoding()
    with np.load(tmp_path / "out.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name != "code"}
    np.savez(tmp_path / "earlier.npz", **arrays)
    assert data_code(tmp_path / "earlier.npz") is None
    assert len(read(tmp_path / "earlier.npz").train_labels) == 256
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "out.npz").read_bytes()[:5000])
    assert data_code(tmp_path / "damaged.npz") is None


def test_two_prepares_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare(Digits(subset=300, val=50, split_seed=4), tmp_path / name)
    prepare(Digits(subset=300, val=50, split_seed=5), tmp_path / "c")
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_mean_and_sd_are_those_of_the_kept_images(tmp_path: Path) -> None:
    prepare(Synthetic(subset=64, val=32), tmp_path / "out")
    data = read(tmp_path / "out")
    pixels = data.train_images.double().reshape(-1, 3) / 255
    torch.testing.assert_close(data.mean.double(), pixels.mean(0), rtol=0, atol=1e-7)
    torch.testing.assert_close(data.std.double(), pixels.std(0, correction=0), rtol=0, atol=1e-7)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "out"
    prepare(Synthetic(), path)
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 100, 20_000, -1])
def test_truncated_file(size: int, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(good[:size])
    with pytest.raises(DataError, match="delete it and run snakemake again"):
        read(tmp_path / "out")


@pytest.mark.parametrize("position", [0.001, 0.3, 0.5, 0.7, 0.9])
def test_corrupt_file(position: float, good: bytes, tmp_path: Path) -> None:
    broken = bytearray(good)
    broken[int(len(good) * position)] ^= 1
    (tmp_path / "out").write_bytes(broken)
    with pytest.raises(DataError, match=r"corrupt .*delete it and run snakemake again"):
        read(tmp_path / "out")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data file; run snakemake again"):
        read(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("prepared, sign_ablate.data.batches", "torchvision sklearn PIL pyarrow pandas"),
        ("prepare", "torch torchvision sklearn PIL pyarrow pandas"),
    ],
)
def test_jobs_pay_for_no_import_that_they_do_not_need(module: str, slow: str) -> None:
    code = f"import sys, sign_ablate.data.{module}; print([m for m in {slow.split()} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
