"""Aggregation of the gradients of several workers in one process."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sign_ablate.distributed.rule import Memory, Place, Rule


@torch.no_grad()
def aggregate(
    rule: Rule,
    gradients: Sequence[Tensor],
    memories: Sequence[Memory],
    server: Memory,
    *,
    number: int = 0,
    step: int = 0,
    seed: int = 0,
) -> Tensor:
    """Aggregate the workers' gradients of one parameter, bit for bit as ranks of a process group do.

    Args:
        rule: the rule.
        gradients: gradient of each worker, in the order of the ranks.
        memories: memory of each worker; {} at first. Updated.
        server: memory of all servers; {} at first. Updated.
        number: number of the parameter.
        step: number of the step, from 0.
        seed: seed of the noise, in [0, 2³²).

    Returns:
        The aggregated gradient, of the gradients' shape and dtype.

    >>> from sign_ablate.distributed import MajorityVote
    >>> gradients = [torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 3.0]), torch.tensor([-2.0, 4.0])]
    >>> aggregate(MajorityVote(), gradients, [{}, {}, {}], {}).tolist()
    [-1.0, 1.0]
    """
    if not gradients[0].numel():
        return gradients[0].clone()
    places = [Place(rank, len(gradients), number, step, seed) for rank in range(len(gradients))]
    messages = [rule.encode(*each) for each in zip(gradients, memories, places, strict=True)]
    return finish(rule, torch.stack(messages), server, places[0], gradients[0])


def finish(rule: Rule, rows: Tensor, server: Memory, first: Place, like: Tensor) -> Tensor:
    """Serve and decode the messages of all workers about one parameter.

    Args:
        rule: the rule.
        rows: messages of `Rule.encode`, in the order of the ranks.
        server: memory of the servers. Updated.
        first: place of rank 0.
        like: tensor of the gradients' shape and dtype.
    """
    shape, dtype = like.shape, like.dtype
    if rule.two_phase:
        rows = rule.serve(rows, server, first, shape.numel(), dtype)
    return rule.decode(rows, first, shape, dtype).to(dtype)
