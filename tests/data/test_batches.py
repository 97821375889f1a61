"""Batches: exact crops and flips, determinism, layout, and no synchronisation with the host."""

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from sign_ablate.data import batches
from sign_ablate.data.batches import Loader

N, SIDE = 50, 8


def loader(channels: int = 3, device: str = "cpu", **options: object) -> Loader:
    images = raw(channels)
    labels = torch.arange(N)
    mean, std = torch.full((channels,), 0.4), torch.linspace(0.2, 0.3, channels)
    return Loader(images, labels, mean, std, batch_size=16, device=torch.device(device), **options)  # type: ignore[arg-type]


def raw(channels: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randint(256, (N, SIDE, SIDE, channels), generator=g, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (2, False), (2, True)])
def test_batches_are_all_of_torchvisions_crops_and_flips(channels: int, padding: int, flip: bool) -> None:
    data = loader(channels, crop_padding=padding, flip=flip)
    mean, std = [0.4] * channels, torch.linspace(0.2, 0.3, channels).tolist()
    places = list(
        itertools.product(range(2 * padding + 1), range(2 * padding + 1), [False, True][: 1 + flip])
    )
    candidates = []  # of each image: (places, channels, height, width)
    for image in raw(channels).permute(0, 3, 1, 2):
        padded = tv.normalize(tv.pad(image, [padding]).float() / 255, mean, std)
        crops = [(tv.crop(padded, top, left, SIDE, SIDE), m) for top, left, m in places]
        candidates.append(torch.stack([tv.horizontal_flip(crop) if m else crop for crop, m in crops]))
    seen = set()
    for epoch in range(10):
        for x, y in data.epoch(3, epoch):
            for image, label in zip(x, y.tolist(), strict=True):
                distance = (candidates[label] - image).abs().amax(dim=(1, 2, 3))
                assert distance.min() < 1e-5
                seen.add(int(distance.argmin()))
    assert seen == set(range(len(places)))


def test_last_batch_is_kept_and_layout_is_channels_last() -> None:
    data = loader(crop_padding=2, flip=True)
    epoch = list(data.epoch(0, 1))
    assert [len(y) for _, y in epoch] == [16, 16, 16, 2]
    assert data.steps_per_epoch == 4
    assert len(data) == N
    for x, y in [*epoch, *data.batches()]:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_epoch_is_a_function_of_seed_and_epoch() -> None:
    data = loader(crop_padding=2, flip=True)
    first = torch.cat([x for x, _ in data.epoch(0, 1)])
    torch.manual_seed(99)
    assert torch.equal(first, torch.cat([x for x, _ in data.epoch(0, 1)]))
    orders = {tuple(order(data, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert sorted(order(data, 0, 1)) == list(range(N))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{}, {"flip": True}, {"crop_padding": 2, "flip": True}])
def test_size_of_the_data_does_not_change_a_bit(
    channels: int, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small data are normalised before the gather, large data after it."""
    small = loader(channels, **options)
    monkeypatch.setattr(batches, "FLOAT_BYTES", 0)
    large = loader(channels, **options)
    for a, b in zip(
        [*small.epoch(0, 1), *small.batches()], [*large.epoch(0, 1), *large.batches()], strict=True
    ):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
        assert b[0].is_contiguous(memory_format=torch.channels_last)


def order(data: Loader, seed: int, epoch: int) -> list[int]:
    return torch.cat([y for _, y in data.epoch(seed, epoch)]).tolist()


def test_augmentation_does_not_change_the_order() -> None:
    assert order(loader(), 1, 2) == order(loader(crop_padding=4, flip=True), 1, 2)


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
