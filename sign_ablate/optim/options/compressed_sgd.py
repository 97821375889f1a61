"""The options of CompressedSGD."""

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from sign_ablate.optim.options.declare import Need, Option
from sign_ablate.optim.options.shared import DECAYING, Foreach, Lr, Maximize, Momentum, WeightDecay

COMPRESSED = Need("without compressor", lambda o: o["compressor"] is not None)

if TYPE_CHECKING:
    from sign_ablate.optim.compressors import Compressor as _Compressor

    Compressor: TypeAlias = _Compressor | dict[str, Any] | None
else:
    Compressor = Annotated[
        Any, Option("A compressor or its dict; None: the update is not compressed.", configured=False)
    ]


@dataclass(frozen=True)
class CompressedSGDOptions:
    """The options of SGD with a compressed update."""

    lr: Lr = 1e-3
    _: KW_ONLY
    compressor: Compressor
    momentum: Momentum = 0.0
    momentum_after: Annotated[
        bool,
        Option(
            "Momentum after the compressor, v ← μv + C(g), instead of before it.",
            needs=(COMPRESSED, Need("without momentum", lambda o: o["momentum"] > 0)),
        ),
    ] = False
    weight_decay: WeightDecay = 0.0
    decoupled: Annotated[
        bool, Option("Decoupled weight decay, which bypasses the compressor.", needs=(DECAYING,))
    ] = False
    error_feedback: Annotated[
        bool, Option("Add the compression error to the next update.", needs=(COMPRESSED,))
    ] = False
    maximize: Maximize = False
    foreach: Foreach = None
