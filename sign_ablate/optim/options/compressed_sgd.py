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
    """The options of SGD behind a compressor."""

    lr: Lr = 1e-3
    _: KW_ONLY
    compressor: Compressor
    momentum: Momentum = 0.0
    momentum_after: Annotated[
        bool,
        Option(
            "Momentum of what is decoded, v ← μv + C(g), not of what is sent.",
            needs=(COMPRESSED, Need("without momentum", lambda o: o["momentum"] > 0)),
        ),
    ] = False
    weight_decay: WeightDecay = 0.0
    decoupled: Annotated[
        bool, Option("Decoupled weight decay, which bypasses the compressor.", needs=(DECAYING,))
    ] = False
    error_feedback: Annotated[
        bool, Option("Carry what the compressor dropped into the next step.", needs=(COMPRESSED,))
    ] = False
    maximize: Maximize = False
    foreach: Foreach = None
