"""Check that the ranks of a process group agree."""

import itertools
from collections.abc import Mapping

import torch.distributed as dist

#: longest value in a message
_CHARACTERS = 120


def require_equal(facts: Mapping[str, str], group: dist.ProcessGroup | None = None) -> None:
    """Check that all ranks give the same facts. All ranks call it together.

    Args:
        facts: name of a fact → its value on this rank.
        group: process group; by default the world.

    Raises:
        ValueError: on every rank, with the first rank and fact that differ from those of rank 0.
    """
    found: list[Mapping[str, str]] = [{}] * dist.get_world_size(group)
    dist.all_gather_object(found, dict(facts), group=group)
    for rank, other in enumerate(found):
        for name, value in found[0].items():
            if other.get(name) != value:
                theirs, first = _shown(other.get(name), value), _shown(value, other.get(name))
                raise ValueError(
                    f"rank {rank} has {name} {theirs}, rank 0 has {first}; all ranks need the same"
                )


def _shown(value: str | None, other: str | None) -> str:
    """The value; of a long one the part that begins shortly before its first difference from the other."""
    text = "none" if value is None else value
    if len(text) <= _CHARACTERS:
        return text
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text, other or "", strict=False))
    start = max(0, sum(1 for _ in alike) - _CHARACTERS // 4)
    end = start + _CHARACTERS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
