"""Batches: exact crops and flips, determinism, layout, and no need of the host."""

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from sign_ablate.data.batches import Loader

N, SIDE = 50, 8


def loader(channels: int = 3, device: str = "cpu", **options: object) -> Loader:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N, SIDE, SIDE, channels), generator=g, dtype=torch.uint8)
    labels = torch.arange(N)
    mean, std = torch.full((channels,), 0.4), torch.linspace(0.2, 0.3, channels)
    return Loader(images, labels, mean, std, batch_size=16, device=device, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (2, False), (2, True)])
def test_crops_and_flips_are_those_of_torchvision(channels: int, padding: int, flip: bool) -> None:
    data = loader(channels, crop_padding=padding, flip=flip)
    raw = loader(channels).images.permute(0, 3, 1, 2)
    order, top, left, mirrored = data.draws(3, 7)
    expected = []
    for i, t, x, m in zip(order, top.tolist(), left.tolist(), mirrored.tolist(), strict=True):
        image = tv.crop(tv.pad(raw[i], [padding]), t, x, SIDE, SIDE)
        image = tv.horizontal_flip(image) if m else image
        mean, std = [0.4] * channels, torch.linspace(0.2, 0.3, channels).tolist()
        expected.append(tv.normalize(image.float() / 255, mean, std))
    batches = list(data.epoch(3, 7))
    torch.testing.assert_close(torch.cat([x for x, _ in batches]), torch.stack(expected))
    assert torch.equal(torch.cat([y for _, y in batches]), order)
    if flip:
        assert 10 < int(mirrored.sum()) < 40
    if padding:
        assert set(top.tolist()) == set(left.tolist()) == set(range(2 * padding + 1))


def test_last_batch_is_kept_and_layout_is_channels_last() -> None:
    data = loader(crop_padding=2, flip=True)
    batches = list(data.epoch(0, 1))
    assert [len(y) for _, y in batches] == [16, 16, 16, 2]
    assert data.steps_per_epoch == 4
    assert len(data) == N
    for x, y in [*batches, *data.batches()]:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_epoch_is_a_function_of_seed_and_epoch() -> None:
    data = loader(crop_padding=2, flip=True)
    first = torch.cat([x for x, _ in data.epoch(0, 1)])
    torch.manual_seed(99)
    assert torch.equal(first, torch.cat([x for x, _ in data.epoch(0, 1)]))
    orders = {tuple(data.draws(seed, epoch)[0].tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert sorted(data.draws(0, 1)[0].tolist()) == list(range(N))


def test_augmentation_does_not_change_the_order() -> None:
    assert torch.equal(loader().draws(1, 2)[0], loader(crop_padding=4, flip=True).draws(1, 2)[0])


def test_evaluation_is_in_order_and_plain() -> None:
    plain = torch.cat([x for x, _ in loader().batches()])
    augmented = list(loader(crop_padding=2, flip=True).batches())
    assert torch.equal(plain, torch.cat([x for x, _ in augmented]))
    assert torch.equal(torch.cat([y for _, y in augmented]), torch.arange(N))


def test_needs_no_value_from_the_device() -> None:
    # a tensor on "meta" has no values: any .item(), nonzero() or boolean mask would raise
    data = loader(device="meta", crop_padding=2, flip=True)
    assert [tuple(x.shape) for x, _ in data.epoch(0, 1)][-1] == (2, 3, SIDE, SIDE)
    assert all(x.is_meta and y.is_meta for x, y in data.batches())


def test_buffer_is_padded_only_when_needed() -> None:
    assert loader().images.shape == (N, SIDE, SIDE, 3)
    assert loader().images.dtype == torch.uint8
    assert loader(crop_padding=2, flip=True).images.shape == (2 * N, SIDE + 4, SIDE + 4, 3)
