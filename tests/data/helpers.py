"""Encoded images, and the check of a broken source."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sign_ablate.data.common import DataError
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read


def encode(side: int = 32, mode: str = "RGB", value: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side), (value,) * len(mode) if mode == "RGB" else value).save(buffer, "PNG")
    return buffer.getvalue()


def prepared(spec: Any, folder: Path) -> PreparedData:
    prepare(spec, folder / "prepared" / "out")
    return read(folder / "prepared" / "out")


def fails(spec: Any, folder: Path, message: str) -> None:
    """Assert that `prepare` raises a one-line error and leaves no file."""
    out = folder / "prepared"
    out.mkdir()
    with pytest.raises(DataError, match=message) as caught:
        prepare(spec, out / "out")
    assert "\n" not in str(caught.value)
    assert list(out.iterdir()) == []
