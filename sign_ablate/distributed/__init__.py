"""Compressed communication for DistributedDataParallel: majority vote, error feedback, QSGD, TernGrad, Top-K.

Needs only torch. `register(model, rule)` replaces the all-reduce of the gradients; docs/distributed.md has an
example. `aggregate` computes the same result for several workers in one process.
"""

from sign_ablate.distributed.hooks import HookState, register
from sign_ablate.distributed.means import Compressed, Mean
from sign_ablate.distributed.rule import Rule
from sign_ablate.distributed.traffic import all_reduce_bytes, bytes_per_step
from sign_ablate.distributed.two_sided import TwoSidedSign
from sign_ablate.distributed.virtual import aggregate
from sign_ablate.distributed.vote import MajorityVote

__all__ = [
    "Compressed",
    "HookState",
    "MajorityVote",
    "Mean",
    "Rule",
    "TwoSidedSign",
    "aggregate",
    "all_reduce_bytes",
    "bytes_per_step",
    "register",
]
