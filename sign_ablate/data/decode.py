"""Decoding of image files to uint8 pixels. Each kind of image is either decoded exactly or refused.

| Pillow's mode | result |
| --- | --- |
| `1`, `L` | grey |
| `I;16`, `I;16B`, `I;16L`, `I;16N` | grey of 16 bits, scaled to 8: round(v / 257) |
| `P`, `RGB`, `RGBX`, `YCbCr` | colour (of 16-bit RGB, Pillow keeps the high bytes) |
| `LA`, `PA`, `RGBA`, and any with a transparent colour | refused if any pixel is not opaque |
| `I`, `F` | refused: the value of white is not defined |
| `CMYK`, `LAB` and others | refused: their colours depend on a profile |

A file with several frames is refused, except for the additional pictures of a photograph (MPO). The EXIF
orientation is applied.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from sign_ablate.data.common import Pixels
from sign_ablate.data.errors import DataError, reason

if TYPE_CHECKING:
    from PIL.Image import Image

SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
GREY = {"1", "L", "LA"} | SIXTEEN_BITS
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"}
_MEANING = {"I": " (32-bit integers)", "F": " (floating-point numbers)"}


def is_grey(data: bytes, where: str, size: int) -> bool:
    """Return True for a grey image and False for a colour image. Only the file's header is read.

    Raises:
        DataError: if the file is not an image, is not of size × size pixels, or cannot be decoded exactly.
    """
    with _opened(data, where) as image:
        width, height = image.size
        if (width, height) != (size, size):
            raise DataError(
                f"{where}: {width}×{height} pixels, but image_size: {size}; resize it, or set image_size to "
                f"what all images have"
            )
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise DataError(f"{where}: {frames} frames in one file; save one of them as a file of its own")
        if image.mode not in GREY | COLOUR:
            raise DataError(
                f"{where}: an image of mode {image.mode}{_MEANING.get(image.mode, '')}; convert it to RGB or "
                f"grey, of 8 bits"
            )
        if image.mode in SIXTEEN_BITS and image.format == "TIFF" and _tiff(image) != (16, 1):
            raise DataError(f"{where}: a grey TIFF of 12 bits, or whose 0 is white; convert it to 8 bits")
        return image.mode in GREY


def pixels(data: bytes, where: str, grey: bool) -> Pixels:
    """Decode an image that `is_grey` accepted, as grey or as RGB.

    Returns:
        uint8 pixels (height, width, channels).

    Raises:
        DataError: if the image is truncated or corrupt, or has transparent pixels.
    """
    from PIL import ImageOps

    with _opened(data, where) as image:
        image.load()
        sixteen_bits = image.mode in SIXTEEN_BITS
        if image.has_transparency_data and (sixteen_bits or not _is_opaque(image)):
            raise DataError(f"{where}: has transparent pixels; put it on a background of your choice")
        upright = ImageOps.exif_transpose(image)
        if sixteen_bits:
            values = (np.asarray(upright).astype(np.uint32) * 255 + 32767) // 65535
            found = values.astype(np.uint8) if grey else np.stack([values.astype(np.uint8)] * 3, axis=-1)
        else:
            found = np.asarray(upright.convert("L" if grey else "RGB"))
    return found[..., None] if grey else found


def rgb8(data: bytes, where: str, size: int) -> Pixels:
    """Decode an 8-bit RGB image to pixels (size, size, 3). Raises DataError for any other image."""
    with _opened(data, where, "get the file again") as image:
        if image.size != (size, size):
            width, height = image.size
            raise DataError(f"{where} has {width}×{height} pixels, expected {size}×{size}")
        if image.mode != "RGB":
            raise DataError(f"{where} has mode {image.mode}, expected 8-bit RGB")
        return np.asarray(image)


def _tiff(image: "Image") -> tuple[int, int]:
    """Bits per sample and photometric interpretation (1: 0 is black). Pillow applies neither to pixels."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(258, 1)
    return (bits[0] if isinstance(bits, tuple) else bits), tags.get(262)


def _is_opaque(image: "Image") -> bool:
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return lowest == 255


@contextmanager
def _opened(data: bytes, where: str, advice: str = "replace or remove it") -> Iterator["Image"]:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, before a pixel is decoded
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:  # its message shows the address of the buffer
        raise DataError(f"{where}: not a readable image (its format is unknown); {advice}") from None
    except Exception as error:  # the exception type depends on Pillow's decoder
        raise DataError(f"{where}: not a readable image ({reason(error)}); {advice}") from None
