"""Sign-based and compressed optimizers. They need only torch, imported on first access to one of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sign_ablate.optim.compressed_sgd import CompressedSGD
    from sign_ablate.optim.compressors import QSGD, OneBit, ScaledSign, TernGrad, TopK
    from sign_ablate.optim.groups import decay_groups
    from sign_ablate.optim.hybrid import HybridSignSGD
    from sign_ablate.optim.lion import Lion
    from sign_ablate.optim.noisy_sgd import NoisySGD
    from sign_ablate.optim.onebit_adam import OneBitAdam
    from sign_ablate.optim.signsgd import SignSGD
    from sign_ablate.optim.swats import SWATS
    from sign_ablate.optim.twin import LinearTwin

__all__ = [
    "QSGD",
    "SWATS",
    "CompressedSGD",
    "HybridSignSGD",
    "LinearTwin",
    "Lion",
    "NoisySGD",
    "OneBit",
    "OneBitAdam",
    "ScaledSign",
    "SignSGD",
    "TernGrad",
    "TopK",
    "decay_groups",
]

_MODULES = {
    "CompressedSGD": "compressed_sgd",
    **dict.fromkeys(("QSGD", "OneBit", "ScaledSign", "TernGrad", "TopK"), "compressors"),
    "decay_groups": "groups",
    "HybridSignSGD": "hybrid",
    "LinearTwin": "twin",
    "Lion": "lion",
    "NoisySGD": "noisy_sgd",
    "OneBitAdam": "onebit_adam",
    "SignSGD": "signsgd",
    "SWATS": "swats",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
