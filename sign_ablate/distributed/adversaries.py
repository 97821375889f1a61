"""Adversarial workers, which send a wrong gradient."""

from typing import Literal, assert_never

import torch
from torch import Tensor

from sign_ablate.distributed.rule import Place
from sign_ablate.optim import noise

Adversary = Literal["invert", "random"]


def corrupted(g: Tensor, adversary: Adversary, place: Place) -> Tensor:
    """Gradient of an adversary: −g, or |g| with random signs that are independent of other workers'."""
    match adversary:
        case "invert":
            return -g
        case "random":
            key = place.own_seed, place.step, place.number
            words = noise.words(g.numel(), *key, g.device, stream=noise.ADVERSARY)
            return torch.where((words < 2**31).view(g.shape), g.abs(), -g.abs())
    assert_never(adversary)
