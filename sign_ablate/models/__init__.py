"""Networks, by their name in a configuration."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from sign_ablate.models.resnet import resnet18
from sign_ablate.models.small import small

#: name → function that builds the network from (image channels, classes)
MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "small": small,
    "resnet18": partial(resnet18, imagenet_stem=False),
    "resnet18-imagenet": partial(resnet18, imagenet_stem=True),
}


def build(name: str, channels: int, classes: int, *, seed: int) -> nn.Module:
    """Build the network `name`. Its weights depend on `seed` only, so all methods of one seed start equal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](channels, classes)
