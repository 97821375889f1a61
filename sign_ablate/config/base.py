"""What every part of the configuration shares: the closed, frozen, strict model and its names."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

#: A label that becomes part of a path. No dot: run ids use it as their separator.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$", max_length=40)]


class Model(BaseModel):
    """Closed (unknown keys are errors), frozen, and strict (text is never read as a number)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def canonical(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces. Equal configurations give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
