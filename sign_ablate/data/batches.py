"""Batches from images that lie on the device as one uint8 tensor."""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

Batch = tuple[Tensor, Tensor]

#: Up to this size, images are normalised once and kept as float32 (four times the uint8 bytes: 38 kB for a
#: padded 32×32×3 image and its mirror image, so 7,000 such images); above it, batch by batch.
#: The numbers are the same bit for bit.
FLOAT_BYTES = 256 * 2**20


class Loader:
    """Images and labels on `device`, in batches of normalised float32 NCHW in channels_last.

    Crop and flip are one gather per batch: every window of every padded image, and of its mirror
    image, is a row of one view of them. `index_select` copies whole lines of it, twice as fast as indexing
    by image, row and column. Nothing in an epoch waits for the device.

    Args:
        images: (n, height, width, channels) uint8.
        labels: (n,) int64.
        mean: (channels,), as a fraction of 255.
        std: (channels,), likewise.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        crop_padding: zeros around the image, of which a random window is taken.
        flip: mirror half of the images.
        device: where all of this lies.
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
        #: both, repeated for so many pixels
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
        """Batches in an epoch."""
        return math.ceil(len(self) / self.batch_size)

    def epoch(self, seed: int, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Shuffled and augmented batches from batch `first` on, a pure function of (seed, epoch)."""
        count = len(self)
        generator = torch.Generator().manual_seed(_mix(seed, epoch))
        # All are always drawn: the order does not depend on the augmentation.
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
        """All images in their order, as they are: for evaluation."""
        for start in range(0, len(self), self.batch_size):
            batch = slice(start, start + self.batch_size)
            yield self._batch(self._images[batch]), self.labels[batch]

    def _with_border(self) -> Tensor:
        """The images, then their mirror images, with their border: zeros before normalisation."""
        images = torch.cat([self._images, self._images.flip(2)]) if self.flip else self._images
        padding = self.crop_padding
        return pad(images, (0, 0, padding, padding, padding, padding))

    def _windows(self) -> Tensor:
        """(first pixel, height, width · channels): every window of the padded images, a view of them.

        A first pixel from which the window would leave its image is among them, and never chosen.
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
        return normalised.permute(0, 3, 1, 2)  # NHWC seen as NCHW is the channels_last layout: no copy

    def _normalised(self, images: Tensor) -> Tensor:
        # (x/255 − mean)/std as one product and one sum over flat images: broadcasting over the last
        # axis of three channels costs as much again as the gather
        pixels = images.shape[1] * images.shape[2]
        if pixels not in self._tiled:
            self._tiled[pixels] = self._scale.repeat(pixels), self._shift.repeat(pixels)
        scale, shift = self._tiled[pixels]
        return images.reshape(len(images), -1).float().mul_(scale).add_(shift).view(images.shape)


def _mix(seed: int, epoch: int) -> int:
    """A 63-bit seed: neighbouring seeds and epochs give unrelated generators."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
