"""Sign-based optimizers and their kin. Needs only torch."""

from sign_ablate.optim.compressed_sgd import CompressedSGD
from sign_ablate.optim.compressors import QSGD, OneBit, ScaledSign, TernGrad, TopK
from sign_ablate.optim.groups import decay_groups
from sign_ablate.optim.hybrid import HybridSignSGD
from sign_ablate.optim.lion import Lion
from sign_ablate.optim.onebit_adam import OneBitAdam
from sign_ablate.optim.signsgd import SignSGD
from sign_ablate.optim.swats import SWATS

__all__ = [
    "QSGD",
    "SWATS",
    "CompressedSGD",
    "HybridSignSGD",
    "Lion",
    "OneBit",
    "OneBitAdam",
    "ScaledSign",
    "SignSGD",
    "TernGrad",
    "TopK",
    "decay_groups",
]
