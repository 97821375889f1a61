"""What every part of the configuration shares: the closed, frozen, strict model and its names."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_+-]*$"
#: A label that becomes part of a path. No dot: run ids use it as their separator.
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]

#: Parameters are float32: within these bounds, what an optimizer makes of its options is a number there too.
SMALLEST, LARGEST = 1e-30, 1e30
LARGEST_INT = 2**32


class Model(BaseModel):
    """Closed (unknown keys are errors), frozen, and strict (text is never read as a number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        """No option has a meaning out there, and torch has an OverflowError."""
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ValueError(f"out of range; must be at most {LARGEST_INT}")
        if isinstance(value, float) and value and not SMALLEST <= abs(value) <= LARGEST:
            raise ValueError(f"out of range; must be between {SMALLEST:g} and {LARGEST:g}")
        return value


def canonical(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces. Equal configurations give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
