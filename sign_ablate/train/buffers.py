"""Buffers of a network, such as the running statistics of batch normalisation."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def same_buffers(network: nn.Module) -> Iterator[None]:
    """Context manager that restores the buffers, which a forward pass in training mode updates."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
