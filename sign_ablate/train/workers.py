"""Virtual workers of a run: their shares of each batch, and the state of the aggregation."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sign_ablate.config.train import Train
from sign_ablate.distributed import Compressed, MajorityVote, Mean, Rule, TwoSidedSign
from sign_ablate.distributed.adversaries import corrupted
from sign_ablate.distributed.rule import Memory, Place
from sign_ablate.distributed.virtual import finish
from sign_ablate.optim import QSGD, ScaledSign, TernGrad, TopK
from sign_ablate.train.buffers import same_buffers


def rule_of(train: Train) -> Rule | None:
    """Return the rule of aggregation of a run, or None if there is one worker and nothing to aggregate."""
    vote = {
        "momentum": train.worker_momentum,
        "alpha": train.worker_alpha,
        "gamma": train.worker_gamma,
        "scale": train.worker_scale,
    }
    match train.aggregation:
        case "mean":
            return Mean() if train.workers > 1 or train.adversaries else None
        case "vote":
            return MajorityVote(**vote)  # type: ignore[arg-type]
        case "two-phase-vote":
            return MajorityVote(**vote, two_phase=True, tie="random")  # type: ignore[arg-type]
        case "ef":
            return Compressed(ScaledSign(), error_feedback=True)
        case "two-sided-ef":
            return TwoSidedSign()
        case "qsgd":
            return Compressed(QSGD())
        case "terngrad":
            return Compressed(TernGrad())
        case "topk":
            return Compressed(TopK(), error_feedback=True)


def shard(batch: Tensor, rank: int, workers: int) -> Tensor:
    """Share of a worker in a batch. Sizes differ by at most one; some are 0 if there are too few images."""
    return batch.tensor_split(workers)[rank]


class Workers:
    """Virtual workers of a run.

    Bit for bit equal to as many ranks with DDP and the hook of `sign_ablate.distributed`. Workers have equal
    weights, as with DDP, and one without images sends zeros. The last ones are the adversaries.

    Args:
        rule: the rule of aggregation.
        train: training parameters of the run.
        seed: seed of the run.
        parameters: parameters of the network.
    """

    def __init__(self, rule: Rule, train: Train, seed: int, parameters: Sequence[nn.Parameter]) -> None:
        self.rule, self.count, self.seed = rule, train.workers, seed
        self._honest, self._adversary = train.workers - train.adversary_count, train.adversary
        self._parameters = parameters
        self._step = 0
        #: memories of each worker and parameter, and of the servers of each parameter
        self._memories: list[list[Memory]] = [[{} for _ in parameters] for _ in range(self.count)]
        self._servers: list[Memory] = [{} for _ in parameters]

        self._start_step()

    def _start_step(self) -> None:
        #: messages of each worker and parameter; True for a parameter that has a gradient on any worker
        self._messages: list[list[Tensor]] = []
        self._used = [False] * len(self._parameters)

    def backward(
        self,
        x: Tensor,
        y: Tensor,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Compute each worker's gradient and messages. Return mean loss and correct predictions of the batch.

        Args:
            x: images of the batch.
            y: their labels.
            network: the network. Of its buffers, the updates of worker 0 remain, as with DDP.
            loss: returns mean loss and logits.
        """
        total, correct = torch.zeros((), device=y.device), torch.zeros((), device=y.device, dtype=torch.long)
        for rank in range(self.count):
            for p in self._parameters:
                p.grad = None
            part, labels = (shard(batch, rank, self.count) for batch in (x, y))
            if len(labels):
                with same_buffers(network) if rank else nullcontext():
                    mean, logits = loss(part, labels)
                    mean.backward()
                total += mean.detach() * len(labels)
                correct += (logits.argmax(1) == labels).sum()
            self._send(rank)
        return total / len(y), correct

    @torch.no_grad()
    def _send(self, rank: int) -> None:
        """Encode the gradients in the parameters as a worker's. Those that are missing count as zeros."""
        row = []
        for number, (p, memory) in enumerate(zip(self._parameters, self._memories[rank], strict=True)):
            self._used[number] |= p.grad is not None
            g, place = torch.zeros_like(p) if p.grad is None else p.grad, self._place(rank, number)
            if rank >= self._honest:
                g = corrupted(g, self._adversary, place)
            row.append(self.rule.encode(g, memory, place))
        self._messages.append(row)

    @torch.no_grad()
    def aggregate(self) -> None:
        """Aggregate the gradients of all workers, and leave the result in the parameters."""
        for number, (p, server) in enumerate(zip(self._parameters, self._servers, strict=True)):
            rows = torch.stack([row[number] for row in self._messages])
            g = finish(self.rule, rows, server, self._place(0, number), p)
            p.grad = torch.empty_like(p).copy_(g) if self._used[number] else None
        self._step += 1
        self._start_step()

    def _place(self, rank: int, number: int) -> Place:
        return Place(rank, self.count, number, self._step, self.seed)

    def state_dict(self) -> dict[str, Any]:
        """State between two steps, in types that `torch.load(weights_only=True)` accepts."""
        return {"step": self._step, "memories": self._memories, "servers": self._servers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._step, self._memories, self._servers = state["step"], state["memories"], state["servers"]
