"""Every kind of image that Pillow reads is decoded exactly or refused with one line."""

import contextlib
import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sign_ablate.data import decode
from sign_ablate.data.common import DataError, Pixels

GREY = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], axis=-1)
DEEP = np.arange(36, dtype=np.uint16).reshape(6, 6) * 1872  # up to 65,520, which scales to 255
SCALED = np.rint(DEEP / 257).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of(pixels: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    return encoded(image.convert(mode) if mode else image, kind, **options)


def decoded(data: bytes) -> Pixels:
    return decode.pixels(data, "here.png", decode.is_grey(data, "here.png", 6))


def turned(kind: str, pixels: Any) -> bytes:
    """Image stored a quarter turn to the left, with the EXIF orientation that turns it right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return of(np.rot90(pixels, 1).copy(), kind, exif=exif)


BIG_ENDIAN = Image.frombytes("I;16B", (6, 6), DEEP.byteswap().tobytes())
OPAQUE = np.dstack([COLOUR, np.full_like(GREY, 255)])
TWO_LEVELS = np.where(GREY > 100, 255, 0).astype(np.uint8)

EXACT: dict[str, tuple[bytes, Any]] = {
    "1": (of(TWO_LEVELS, mode="1"), TWO_LEVELS),
    "L": (of(GREY), GREY),
    "16-bit PNG": (of(DEEP), SCALED),
    "16-bit TIFF": (of(DEEP, "TIFF"), SCALED),
    "16-bit TIFF, other byte order": (encoded(BIG_ENDIAN, "TIFF"), SCALED),
    "RGB": (of(COLOUR), COLOUR),
    "lossless WebP": (of(COLOUR, "WEBP", lossless=True), COLOUR),
    "P": (encoded(Image.fromarray(TWO_LEVELS).convert("RGB").quantize(4)), np.dstack([TWO_LEVELS] * 3)),
    "opaque RGBA": (of(OPAQUE), COLOUR),
    "opaque LA": (of(GREY, mode="LA"), GREY),
    "opaque RGBA in WebP": (of(OPAQUE, "WEBP", lossless=True, exact=True), COLOUR),
    "one frame of GIF": (of(TWO_LEVELS, "GIF"), np.dstack([TWO_LEVELS] * 3)),
    "turned PNG": (turned("PNG", COLOUR), COLOUR),
    "turned 16-bit PNG": (turned("PNG", DEEP), SCALED),
    "unused transparent colour": (of(GREY, transparency=1), GREY),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_is_decoded_exactly(name: str) -> None:
    data, expected = EXACT[name]
    found = decoded(data)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected if expected.ndim == 3 else expected[..., None])


def test_full_range_of_16_bits() -> None:
    values = np.array([0, 128, 129, 257, 32896, 65278, 65406, 65407, 65535], dtype=np.uint16)
    found = decoded(of(np.resize(values, (6, 6))))
    assert found.ravel()[:9].tolist() == [0, 0, 1, 1, 128, 254, 254, 255, 255]


def test_grey_among_colour_is_grey_in_every_channel() -> None:
    for data, expected in ((of(GREY), GREY), (of(DEEP), SCALED)):
        np.testing.assert_array_equal(decode.pixels(data, "here.png", False), np.dstack([expected] * 3))


def test_photograph_with_further_pictures_is_its_first_one() -> None:
    first = Image.fromarray(np.full((6, 6, 3), 90, dtype=np.uint8))
    data = encoded(first, "MPO", save_all=True, append_images=[Image.new("RGB", (6, 6))], quality=100)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert abs(decoded(data).astype(int) - 90).max() <= 1


def test_jpeg_of_a_camera_is_turned() -> None:
    half = np.zeros((6, 6, 3), dtype=np.uint8)
    half[:3] = 250
    found = decoded(turned("JPEG", half)).astype(int)
    assert found[:2].min() > 200
    assert found[4:].max() < 50


def clear(mode: str) -> bytes:
    image = Image.new(mode, (6, 6))
    image.putalpha(100)
    return encoded(image)


def frames(kind: str) -> bytes:
    first, second = Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())
    return encoded(first, kind, save_all=True, append_images=[second])


def huge() -> bytes:
    """Header of an image of 400 megapixels. Nothing after it is read."""
    data = bytearray(encoded(Image.new("L", (6, 6))))
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


REFUSED: dict[str, tuple[bytes, str]] = {
    "transparent RGBA": (clear("RGB"), "has transparent pixels; put it on a background"),
    "transparent LA": (clear("L"), "has transparent pixels"),
    "transparent colour of L": (of(GREY, transparency=7), "has transparent pixels"),
    "transparent colour of RGB": (
        of(COLOUR, transparency=tuple(COLOUR[2, 2].tolist())),
        "has transparent pixels",
    ),
    "transparent colour of P": (
        encoded(Image.fromarray(GREY).convert("P"), transparency=7),
        "has transparent pixels",
    ),
    "transparent colour of 16 bits": (of(DEEP, transparency=1872), "has transparent pixels"),
    "CMYK": (of(COLOUR, "JPEG", mode="CMYK"), "an image of mode CMYK; convert it to RGB or grey, of 8 bits"),
    "LAB": (encoded(Image.new("LAB", (6, 6)), "TIFF"), "an image of mode LAB; convert it"),
    "I": (of(GREY, "TIFF", mode="I"), r"an image of mode I \(32-bit integers\); convert it"),
    "F": (of(GREY, "TIFF", mode="F"), r"an image of mode F \(floating-point numbers\); convert it"),
    "16-bit PGM": (of(DEEP, "PPM"), r"an image of mode I \(32-bit integers\)"),
    "white is 0": (of(DEEP, "TIFF", tiffinfo={262: 0}), "a grey TIFF of 12 bits, or whose 0 is white"),
    "animated GIF": (frames("GIF"), "2 frames in one file; save one of them as a file of its own"),
    "animated PNG": (frames("PNG"), "2 frames in one file"),
    "animated WebP": (frames("WEBP"), "2 frames in one file"),
    "pages of TIFF": (frames("TIFF"), "2 frames in one file"),
    "other size": (encoded(Image.new("RGB", (6, 7))), "6×7 pixels, but image_size: 6; resize it, or set"),
    "400 megapixels": (huge(), "20000×20000 pixels, but image_size: 6; resize it"),
    "text": (b"text", r"not a readable image \(its format is unknown\); replace or remove it"),
    "empty": (b"", r"not a readable image \(its format is unknown\); replace or remove it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_in_one_line(name: str) -> None:
    data, message = REFUSED[name]
    with pytest.raises(DataError, match=f"^here.png: {message}") as caught:
        decoded(data)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated_anywhere_is_refused_or_lacks_no_pixel(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    data = of(noise, kind)
    whole, refused = decoded(data), 0
    for length in range(len(data)):
        try:
            np.testing.assert_array_equal(decoded(data[:length]), whole)
        except DataError:
            refused += 1
    assert refused > 0.85 * len(data)


def test_flipped_bit_of_a_png_is_refused_or_in_no_pixel() -> None:
    data = of(COLOUR)
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 1
        with contextlib.suppress(DataError):
            np.testing.assert_array_equal(decoded(bytes(broken)), COLOUR)
