"""A small image folder."""

from pathlib import Path

import pytest

from tests.data.helpers import encode


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder of 6×6 RGB images, cats filled with 0 and dogs with 1: four of each to train, two for test."""
    folder = tmp_path / "images"
    for part, count in (("train", 4), ("test", 2)):
        for value, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                (folder / part / name / f"{number}.png").write_bytes(encode(6, value=value))
    return folder
