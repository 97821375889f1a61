"""Sources that need no files."""

from pathlib import Path

from sign_ablate.config.data import Digits, Synthetic
from tests.data.helpers import prepared


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
