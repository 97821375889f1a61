"""Base model of the configuration, type of its names, and canonical JSON."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_+-]*$"
#: A label that becomes part of a path. It has no dot, because run ids are separated by dots.
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

#: Bounds on the magnitude of a number. The margin to float32's range (1e-38 to 3e38), the type of parameters,
#: is for values that optimizers compute from options.
SMALLEST, LARGEST = 1e-30, 1e30
LARGEST_INT = 2**32


class Model(BaseModel):
    """Base model: unknown keys are errors, instances are frozen, and text is never converted to a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        """Refuse numbers far outside of any meaningful range, for which torch raises OverflowError."""
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ValueError(f"out of range; must be at most {LARGEST_INT}")
        if isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
            raise ValueError(f"out of range; must be between {SMALLEST:g} and {LARGEST:g}")
        return value


def canonical(value: Any) -> str:
    """Canonical JSON text with sorted keys and no spaces. Equal configurations give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
