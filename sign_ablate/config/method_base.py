"""What every optimizer's options are made of."""

from typing import Annotated

from pydantic import Field

from sign_ablate.config.base import Model

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Model):
    """What every optimizer has."""

    lr: Positive = Field(description="Learning rate: δ for the sign-based methods.")
    weight_decay: NonNegative = Field(0.0, description="Weight decay.")
