"""Batches of images that are held on the device as one tensor."""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

Batch = tuple[Tensor, Tensor]

#: Images that take at most this many bytes as float32 are normalised once. Others are held as uint8 and
#: normalised batch by batch. The batches are bitwise equal. A 32×32×3 image with padding 4 and its mirror
#: image take 38 kB as float32, so the limit is about 7,000 such images.
FLOAT_BYTES = 256 * 2**20


class Loader:
    """Data loader that yields batches of normalised float32 images (NCHW, channels_last) and their labels.

    Random crops and flips are one gather per batch. Every window of every padded image, and of its mirror
    image, is a row of one strided view. `index_select` copies whole lines of the chosen rows, which is twice
    as fast as indexing by image, row and column. An epoch never waits for the device.

    Args:
        images: (n, height, width, channels) uint8.
        labels: (n,) int64.
        mean: (channels,), as fractions of 255.
        std: (channels,), as fractions of 255.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        crop_padding: zero pixels added on each side before a random crop to the original size.
        flip: mirror each image with probability 1/2.
        device: device of the images, the labels and the batches.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        *,
        batch_size: int,
        crop_padding: int = 0,
        flip: bool = False,
        device: torch.device,
    ) -> None:
        self.batch_size, self.crop_padding, self.flip, self.device = batch_size, crop_padding, flip, device
        self.labels = labels.to(device)
        self._scale, self._shift = (1 / (std * 255)).to(device), (-mean / std).to(device)
        #: number of pixels → scale and shift, repeated for each pixel
        self._tiled: dict[int, tuple[Tensor, Tensor]] = {}
        self._images = images.to(device).contiguous()
        augmented = crop_padding > 0 or flip
        self._padded = self._stored(self._with_border() if augmented else self._images)
        if not augmented:
            self._images = self._padded

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self) / self.batch_size)

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the shuffled, augmented batches of an epoch from batch `first` on.

        They are a pure function of (seed, epoch).
        """
        count = len(self)
        generator = torch.Generator().manual_seed(_mix(seed, epoch))
        # Always draw all three, so that the order does not depend on the augmentation.
        order = torch.randperm(count, generator=generator)
        rows, columns = torch.randint(0, 2 * self.crop_padding + 1, (2, count), generator=generator)
        mirrored = torch.randint(0, 2, (count,), generator=generator)
        image = order + count * mirrored if self.flip else order
        _, height, width, _ = self._padded.shape
        first_pixel = ((image * height + rows) * width + columns).to(self.device)
        order, windows = order.to(self.device), self._windows()
        for start in range(first * self.batch_size, count, self.batch_size):
            batch = slice(start, start + self.batch_size)
            images = windows.index_select(0, first_pixel[batch]).view(-1, *self._images.shape[1:])
            yield self._batch(images), self.labels.index_select(0, order[batch])

    def batches(self) -> Iterator[Batch]:
        """Yield all images in order and without augmentation, for evaluation."""
        for start in range(0, len(self), self.batch_size):
            batch = slice(start, start + self.batch_size)
            yield self._batch(self._images[batch]), self.labels[batch]

    def _with_border(self) -> Tensor:
        """Images padded with zeros (before normalisation), followed by their mirror images if `flip`."""
        images = torch.cat([self._images, self._images.flip(2)]) if self.flip else self._images
        padding = self.crop_padding
        return pad(images, (0, 0, padding, padding, padding, padding))

    def _windows(self) -> Tensor:
        """View of the padded images, (first pixel, height, width · channels), with one row per window.

        It also has rows whose window crosses the border of its image; `epoch` never selects these.
        """
        _, height, width, channels = self._images.shape
        count, rows, columns, _ = self._padded.shape
        firsts = count * rows * columns - (height - 1) * columns - width + 1
        strides = channels, columns * channels, 1
        return self._padded.view(-1).as_strided((firsts, height, width * channels), strides)

    def _stored(self, images: Tensor) -> Tensor:
        small = images.numel() * torch.float32.itemsize <= FLOAT_BYTES
        return self._normalised(images) if small else images

    def _batch(self, images: Tensor) -> Tensor:
        normalised = images if images.is_floating_point() else self._normalised(images)
        return normalised.permute(0, 3, 1, 2)  # a permuted NHWC tensor is channels_last: no copy

    def _normalised(self, images: Tensor) -> Tensor:
        # (x/255 − mean)/std as one product and one sum over flat images: broadcasting over a last axis of
        # three channels costs as much as the gather.
        pixels = images.shape[1] * images.shape[2]
        if pixels not in self._tiled:
            self._tiled[pixels] = self._scale.repeat(pixels), self._shift.repeat(pixels)
        scale, shift = self._tiled[pixels]
        return images.reshape(len(images), -1).float().mul_(scale).add_(shift).view(images.shape)


def _mix(seed: int, epoch: int) -> int:
    """63-bit hash of (seed, epoch): neighbouring seeds and epochs give unrelated generators."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
