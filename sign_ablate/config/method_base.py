"""What every optimizer's options are made of."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from sign_ablate.config.base import Model

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Model):
    """What every optimizer has."""

    lr: Positive = Field(description="Learning rate: δ for the sign-based methods.")
    weight_decay: NonNegative = Field(0.0, description="Weight decay.")
    exclude_norm_bias: bool = Field(
        False, description="No weight decay on biases and normalisation: parameters of at most one dimension."
    )

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if self.exclude_norm_bias and not self.weight_decay:
            raise ValueError("exclude_norm_bias has no effect without weight_decay")
        return self
