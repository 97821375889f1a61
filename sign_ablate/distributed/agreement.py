"""Check that the ranks of a process group agree."""

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
                theirs, first = (_shown(text) for text in (other.get(name), value))
                raise ValueError(
                    f"rank {rank} has {name} {theirs}, rank 0 has {first}; all ranks need the same"
                )


def _shown(value: str | None) -> str:
    text = "none" if value is None else value
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"
