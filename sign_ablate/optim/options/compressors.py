"""The options of the gradient compressors."""

from dataclasses import dataclass
from typing import Annotated, Literal

from sign_ablate.optim.options.declare import ABOVE_0, AT_LEAST_1, Option, Range
from sign_ablate.optim.options.shared import Seed


@dataclass(frozen=True)
class ScaledSignOptions:
    """The options of scaled sign."""

    norm: Annotated[Literal["l1", "l2"], Option("Scale of the sign: l1, ‖x‖₁/d; l2, ‖x‖₂/√d.")] = "l1"


@dataclass(frozen=True)
class OneBitOptions:
    """The options of the compressor of 1-bit SGD."""

    columns: Annotated[bool, Option("Reconstruction values per matrix column; false: per tensor.")] = True


@dataclass(frozen=True)
class QSGDOptions:
    """The options of QSGD's compressor."""

    levels: Annotated[
        int, Option("Levels s of a magnitude; 7 is a 4-bit code.", Range(ge=1, le=2**24), "s")
    ] = 7
    norm: Annotated[Literal["l2", "max"], Option("Norm of a bucket; l2 is that of the theorems.")] = "max"
    bucket: Annotated[int | None, Option("Coordinates per norm; None (null): all.", AT_LEAST_1)] = 512
    seed: Seed = 0


@dataclass(frozen=True)
class TernGradOptions:
    """The options of TernGrad's compressor."""

    clip: Annotated[
        float | None, Option("Clip at this many standard deviations; None (null): no clipping.", ABOVE_0)
    ] = 2.5
    seed: Seed = 0


@dataclass(frozen=True)
class TopKOptions:
    """The options of top-k sparsification."""

    fraction: Annotated[float, Option("Fraction of coordinates sent.", Range(gt=0, le=1))] = 0.01
