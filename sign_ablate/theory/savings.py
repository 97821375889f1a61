"""Memory and communication in bytes, counted from the optimizers' states and from the messages of a vote."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from sign_ablate.distributed.rule import Rule
from sign_ablate.distributed.traffic import all_reduce_bytes, bytes_per_step
from sign_ablate.distributed.vote import MajorityVote
from sign_ablate.models import build
from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.store.run_files import field
from sign_ablate.theory import tables

KEYS = [
    field("method", pa.string(), "optimizer, or rule of the vote"),
    field("baseline", pa.string(), "what it is compared with"),
    field("workers", pa.int64(), "number of workers W; null for an optimizer's state"),
]
#: shape of the parameter whose state is counted, in float32
SHAPE = (64, 100)
WORKERS = (2, 4, 16, 64, 256)
#: saving in bytes per coordinate that counts as one: half a value of float32
LEAST_SAVING = 2.0
#: room for padding and flags in the messages
PADDING = 1.02


def run(rng: np.random.Generator) -> list[tables.Row]:
    """Rows of the experiment. Nothing in it is random."""
    return [*_memory(), *_communication()]


def state_bytes(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> float:
    """Bytes of an optimizer's state per coordinate of `parameter`, after a step. Counters are left out."""
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = [x for x in optimizer.state[parameter].values() if torch.is_tensor(x)]
    return sum(x.nbytes for x in state if x.shape == parameter.shape) / parameter.numel()


def _memory() -> list[tables.Row]:
    p = [nn.Parameter(torch.ones(SHAPE))]
    optimizers: Mapping[str, torch.optim.Optimizer] = {
        "SignSGD": SignSGD(p, lr=1e-3, beta=0.0),
        "SignSGD-M": SignSGD(p, lr=1e-3),
        "hybrid": HybridSignSGD(p, lr=1e-3, switch_step=10),
        "SGD": torch.optim.SGD(p, lr=1e-3),
        "SGD with momentum": torch.optim.SGD(p, lr=1e-3, momentum=0.9),
        "AdamW": torch.optim.AdamW(p, lr=1e-3),
    }
    held = {name: state_bytes(optimizer, p[0]) for name, optimizer in optimizers.items()}
    pairs = {
        "memory-sgd": [("SignSGD", "SGD"), ("SignSGD-M", "SGD with momentum")],
        "memory-adam": [("SignSGD-M", "AdamW"), ("hybrid", "AdamW")],
    }
    return [
        tables.exact(
            "bytes of state per coordinate that are saved", held[baseline] - held[method], ">=", LEAST_SAVING,
            claim, method=method, baseline=baseline,
        )
        for claim, of_claim in pairs.items()
        for method, baseline in of_claim
    ]  # fmt: skip


def _communication() -> list[tables.Row]:
    with torch.device("meta"):
        shapes = [tuple(p.shape) for p in build("resnet18", 3, 10, seed=0).parameters()]
    rules: dict[str, tuple[str, Rule]] = {
        "bits-vote": ("vote in two phases", MajorityVote(two_phase=True, tie="random")),
        "bits-gather": ("vote by all-gather", MajorityVote()),
    }
    rows = []
    for claim, (method, rule) in rules.items():
        for workers in WORKERS:
            share = bytes_per_step(rule, shapes, workers) / all_reduce_bytes(shapes, workers)
            name, factor = ("32", 32) if claim == "bits-vote" else ("64/W", 64 / workers)
            sides: tuple[tuple[tables.Relation, float], ...] = (("<=", PADDING), (">=", 2 - PADDING))
            rows += [
                tables.exact(
                    f"{name} × bytes sent / those of the baseline", share * factor, relation, bound, claim,
                    method=method, baseline="float32 ring all-reduce", workers=workers,
                )
                for relation, bound in sides
            ]  # fmt: skip
    return rows
