"""Parameter groups with and without weight decay."""

from collections.abc import Iterable
from typing import Any


def decay_groups(params: Iterable[Any]) -> list[dict[str, Any]]:
    """Split parameters into a group with the optimizer's weight decay and one without: biases and norms.

    The second has the parameters of at most one dimension. An empty group is left out.

    Args:
        params: parameters, or named parameters.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> [len(group["params"]) for group in decay_groups(model.parameters())]
    [1, 3]
    """
    decaying: list[Any] = []
    others: list[Any] = []
    for entry in params:
        p: Any = entry[1] if isinstance(entry, tuple) else entry
        (decaying if p.dim() > 1 else others).append(entry)
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
