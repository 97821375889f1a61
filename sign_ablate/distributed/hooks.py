"""Communication hook of DistributedDataParallel that aggregates gradients by a rule."""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from sign_ablate.distributed.adversaries import Adversary, corrupted
from sign_ablate.distributed.agreement import require_equal
from sign_ablate.distributed.rule import Memory, Place, Rule
from sign_ablate.store import fingerprint

_Bucket = dist.GradBucket
Pairs = list[tuple[Tensor, int]]
#: renamed in torch 2.14
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class HookState:
    """State of the hook on one rank: the rule, the memory of each parameter, and the bytes sent.

    All of it is keyed by parameter, since DDP rebuilds its buckets after the first step.

    Args:
        model: the module whose parameters' gradients are aggregated.
        rule: the rule of aggregation, equal on all ranks.
        seed: seed of the noise, equal on all ranks; in [0, 2³²).
        group: process group; by default the world.
        adversary: corruption of this rank's gradients before they are encoded: "invert" or "random".

    Attributes:
        bytes_sent: bytes that this rank has sent to other ranks since the start.

    Raises:
        TypeError: if `rule` is not a rule.
        ValueError: for a seed out of range, an unknown adversary, or a complex parameter.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: Rule,
        *,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        if not isinstance(rule, Rule):
            raise TypeError(f"rule must be a rule of sign_ablate.distributed, such as Mean(), got {rule!r}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), got {seed}")
        if adversary is not None and adversary not in get_args(Adversary):
            allowed = ", ".join(map(repr, get_args(Adversary)))
            raise ValueError(f"adversary must be None or one of {allowed}, got {adversary!r}")
        self.rule, self.seed, self.group, self.adversary = rule, seed, group, adversary
        self.rank, self.workers = dist.get_rank(group), dist.get_world_size(group)
        self.bytes_sent = 0
        for name, p in model.named_parameters():
            if p.is_complex() and p.requires_grad:  # DDP loses what a hook writes to its gradient
                raise ValueError(f"parameter {name} is complex; rules support real parameters only")
        self._names = [name for name, _ in model.named_parameters()]
        self._numbers: dict[Tensor, int] = {p: number for number, p in enumerate(model.parameters())}
        self._steps = [0] * len(self._names)
        self._memories: list[Memory] = [{} for _ in self._names]

    def state_dict(self) -> dict[str, Any]:
        """State of this rank, in types that `torch.load(weights_only=True)` accepts. Ranks save their own."""
        return {
            "rank": self.rank,
            "workers": self.workers,
            "rule": self.rule.as_dict(),
            "seed": self.seed,
            "shapes": self._shapes(),
            "bytes_sent": self.bytes_sent,
            "steps": dict(zip(self._names, self._steps, strict=True)),
            "memories": {name: dict(m) for name, m in zip(self._names, self._memories, strict=True)},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of this rank.

        Raises:
            ValueError: if the state is of another rank, number of workers, rule, seed or model.
        """
        own = {"rank": self.rank, "workers": self.workers, "rule": self.rule.as_dict(), "seed": self.seed}
        for key, value in own.items():
            if state[key] != value:
                raise ValueError(
                    f"the state has {key} {state[key]!r}, this hook has {value!r}; load the "
                    "state that this rank saved with the same workers, rule and seed"
                )
        if list(state["steps"]) != self._names:
            changed = sorted({*state["steps"]} ^ {*self._names}) or ["their order"]
            raise ValueError(f"the state is of a model with other parameters: {', '.join(changed)}")
        for name, shape in self._shapes().items():
            if state["shapes"][name] != shape:
                raise ValueError(
                    f"the state has {name} of shape {state['shapes'][name]}, this model of shape {shape}"
                )
        self.bytes_sent = state["bytes_sent"]
        self._steps = list(state["steps"].values())
        devices = [p.device for p in self._numbers]
        self._memories = [
            {key: value.to(device, copy=True) for key, value in memory.items()}
            for memory, device in zip(state["memories"].values(), devices, strict=True)
        ]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(p.shape) for name, p in zip(self._names, self._numbers, strict=True)}

    def place(self, number: int) -> Place:
        """Place of this rank at the coming step of a parameter."""
        return Place(self.rank, self.workers, number, self._steps[number], self.seed)

    def encode(self, g: Tensor, number: int) -> Tensor:
        """Encode this rank's gradient of a parameter."""
        place = self.place(number)
        if self.adversary is not None:
            g = corrupted(g, self.adversary, place)
        return self.rule.encode(g, self._memories[number], place)

    def serve(self, rows: Tensor, g: Tensor, number: int) -> Tensor:
        """Reply of this rank about its chunk of a parameter: uint8 (W, bytes) → (bytes,)."""
        memory, place = self._memories[number], self.place(number)
        return self.rule.serve(rows.unsqueeze(1), memory, place, g.numel(), g.dtype)[0]

    def exchange(self, bucket: _Bucket) -> Future[Tensor]:
        """Aggregate the gradients of a bucket in place. This is the hook, without its first argument.

        Raises:
            RuntimeError: for a sparse gradient.
        """
        buffer = bucket.buffer()
        if buffer.layout is not torch.strided:
            raise RuntimeError(f"{type(self.rule).__name__} does not support sparse gradients")
        pairs = [
            (_in_order(g, p), self._numbers[p])
            for g, p in zip(bucket.gradients(), bucket.parameters(), strict=True)
            if p.numel()
        ]
        if pairs:
            return self._exchange(pairs, buffer)
        nothing: Future[Tensor] = Future()
        nothing.set_result(buffer)
        return nothing

    def aggregate(self, gradients: Sequence[Tensor]) -> None:
        """Aggregate the gradients of all parameters in place, without DDP.

        Args:
            gradients: this rank's gradients, in the order and the shapes of the parameters.
        """
        pairs = [(g, number) for number, g in enumerate(gradients) if g.numel()]
        if pairs:
            self._exchange(pairs, pairs[0][0]).wait()

    def _exchange(self, pairs: Pairs, result: Tensor) -> Future[Tensor]:
        """Aggregate gradients in place, each given with the number of its parameter.

        The future's value is `result`, a tensor on their device, so that CUDA waits for what it depends on.
        """
        messages = [self.encode(*pair) for pair in pairs]
        places = [self.place(number) for _, number in pairs]
        if self.rule.two_phase:
            messages = self._served(messages, pairs)
        for _, number in pairs:
            self._steps[number] += 1
        sent = torch.cat(messages)
        received = sent.new_empty(self.workers * len(sent))
        work = all_gather(received, sent, group=self.group, async_op=True)
        assert work is not None  # None only on a process outside of the group
        self.bytes_sent += (self.workers - 1) * len(sent)

        def decode(gathered: Future[Any]) -> Tensor:
            gathered.value()  # raises what the collective raised
            parts = received.view(self.workers, -1).split([len(message) for message in messages], dim=1)
            for (g, _), rows, place in zip(pairs, parts, places, strict=True):
                g.copy_(self.rule.decode(rows, place, g.shape, g.dtype))
            return result

        future: Future[Tensor] = work.get_future().then(decode)
        return future

    def _served(self, messages: list[Tensor], pairs: Pairs) -> list[Tensor]:
        """Exchange chunks with the other servers, and return this rank's replies about its own.

        Blocks: if the second phase of a bucket began in a callback, ranks could begin their collectives in
        different orders.
        """
        sent = torch.cat(messages, dim=1)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self.group)
        self.bytes_sent += (self.workers - 1) * sent.shape[1]
        chunks = received.split([message.shape[1] for message in messages], dim=1)
        return [self.serve(rows, *pair) for rows, pair in zip(chunks, pairs, strict=True)]


def _in_order(g: Tensor, p: Tensor) -> Tensor:
    """Gradient in a bucket, viewed in the memory order of its parameter.

    DDP stores the gradient in the memory format of a dense parameter, such as channels_last, but
    `GradBucket.gradients` gives a view in C order.
    """
    dense = torch.empty_like(p, device="meta").stride() == p.stride()
    return g.as_strided(p.shape, p.stride(), g.storage_offset()) if dense else g


@functools.cache
def _code() -> str:
    return fingerprint.of_sources(("distributed", "optim"))


def _described(module: nn.Module) -> str:
    """Number of the parameters, and a hash of their names, shapes and dtypes."""
    facts = [(name, tuple(p.shape), str(p.dtype)) for name, p in module.named_parameters()]
    return f"{len(facts)} parameters ({hashlib.sha256(repr(facts).encode()).hexdigest()[:8]})"


def _hook(state: HookState, bucket: _Bucket) -> Future[Tensor]:
    return state.exchange(bucket)


def register(
    model: DistributedDataParallel,
    rule: Rule,
    *,
    seed: int = 0,
    adversary: Adversary | None = None,
) -> HookState:
    """Register the hook on a DDP model, before its first backward pass, and return the hook's state.

    The arguments are those of `HookState`. Gradients are aggregated over the ranks of the model's process
    group, which all call it together.

    Raises:
        TypeError, ValueError: as `HookState`, or if `model` is not a DDP model.
        ValueError: on all ranks, if their rules, seeds, models, versions of this code or of torch differ.
    """
    if not isinstance(model, DistributedDataParallel):
        raise TypeError(f"model must be a DistributedDataParallel, got {type(model).__name__}")
    group = model.process_group
    state = HookState(model.module, rule, seed=seed, group=group, adversary=adversary)
    require_equal(
        {
            "rule": str(rule.as_dict()),
            "seed": str(seed),
            "model": _described(model.module),
            "code": _code(),
            "torch": torch.__version__,
        },
        group,
    )
    model.register_comm_hook(state, _hook)
    return state
