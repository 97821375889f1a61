"""Workers of a run as processes, connected by torch.distributed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sign_ablate.config.campaign import RunConfig
from sign_ablate.config.train import Train
from sign_ablate.distributed import HookState, Rule
from sign_ablate.distributed.hooks import all_gather
from sign_ablate.train.workers import Workers, rule_of, shard

#: prefix of the server's keys in a rank's memory; `Workers` keeps one tensor for all servers
_SERVER = "server_"


class Ranks:
    """Workers of a run, of which this process is one: a rank of the default process group.

    Every rank has the whole network and draws the whole batch, of which it trains on its share. Gradients are
    exchanged after the backward pass, by the collectives of the hooks. All ranks make the step of `Workers`,
    bit for bit; their running statistics of batch norm differ, and those of rank 0 count.

    Args:
        rule: the rule of aggregation.
        train: training parameters of the run.
        seed: seed of the run.
        network: the network, all of whose parameters have a gradient in each step.

    Attributes:
        arrive: called before each exchange with the other ranks.
    """

    def __init__(self, rule: Rule, train: Train, seed: int, network: nn.Module) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        bad = self.rank >= train.workers - train.adversary_count
        self.hook = HookState(network, rule, seed=seed, adversary=train.adversary if bad else None)
        self._names = [name for name, _ in network.named_parameters()]
        self._parameters: Sequence[nn.Parameter] = list(network.parameters())
        self._first = 0
        self.arrive: Callable[[], None] = lambda: None

    def backward(
        self,
        x: Tensor,
        y: Tensor,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Compute this rank's gradient. Return mean loss and correct predictions of the whole batch."""
        for p in self._parameters:
            p.grad = None
        images, labels = (shard(batch, self.rank, self.count) for batch in (x, y))
        own = torch.zeros(2, dtype=torch.float64, device=y.device)
        if len(labels):
            mean, logits = loss(images, labels)
            mean.backward()
            own = torch.stack([mean.detach().double(), (logits.argmax(1) == labels).sum()])
        found = torch.empty(2 * self.count, dtype=torch.float64, device=y.device)
        self.arrive()
        all_gather(found, own)
        total = torch.zeros((), device=y.device)
        for rank, mean in enumerate(found[::2].float()):
            total += mean * len(shard(y, rank, self.count))
        return total / len(y), found[1::2].sum()

    @torch.no_grad()
    def aggregate(self) -> None:
        """Aggregate the gradients of all ranks, and leave the result in the parameters."""
        for p in self._parameters:
            if p.grad is None:  # a rank without images
                p.grad = torch.zeros_like(p)
        self.arrive()
        self.hook.aggregate([p.grad for p in self._parameters if p.grad is not None])

    @property
    def step(self) -> int:
        """Number of the coming step."""
        return max(self.hook.state_dict()["steps"].values())

    @property
    def bytes_per_step(self) -> float | None:
        """Bytes of gradients that this rank sends per step, as counted; None before its first step."""
        steps = self.step - self._first
        return self.hook.bytes_sent / steps if steps else None

    def state_dict(self) -> dict[str, Any]:
        """State of all ranks on rank 0, as that of `Workers`; {} on others. All ranks call it together."""
        own = [_on(memory, torch.device("cpu")) for memory in self.hook.state_dict()["memories"].values()]
        found: list[Any] | None = None if self.rank else [None] * self.count
        self.arrive()
        dist.gather_object(own, found)
        if found is None:
            return {}
        memories = [[_part(memory, server=False) for memory in rank] for rank in found]
        chunks = zip(*([_part(memory, server=True) for memory in rank] for rank in found), strict=True)
        servers = [{key: torch.cat([chunk[key] for chunk in each]) for key in each[0]} for each in chunks]
        return {"step": self.step, "memories": memories, "servers": servers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore this rank's part of a state from `state_dict`, or from `Workers.state_dict`."""
        own, place = state["memories"][self.rank], slice(self.rank, self.rank + 1)
        memories = [
            memory | {key: value[place] for key, value in server.items()}
            for memory, server in zip(own, state["servers"], strict=True)
        ]
        self.hook.load_state_dict(
            self.hook.state_dict()
            | {
                "workers": len(state["memories"]),
                "bytes_sent": 0,
                "steps": dict.fromkeys(self._names, state["step"]),
                "memories": dict(zip(self._names, memories, strict=True)),
            }
        )
        self._first = state["step"]


def workers_of(run: RunConfig, network: nn.Module, *, on_ranks: bool) -> Workers | Ranks | None:
    """Workers of a run, in this process or on the ranks; None if there is one and nothing to aggregate."""
    rule = rule_of(run.train)
    if rule is None:
        return None
    if on_ranks:
        return Ranks(rule, run.train, run.seed, network)
    return Workers(rule, run.train, run.seed, list(network.parameters()))


def _part(memory: dict[str, Tensor], *, server: bool) -> dict[str, Tensor]:
    return {key: value for key, value in memory.items() if key.startswith(_SERVER) == server}


def _on(memory: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in memory.items()}
