"""`python -m tests.golden.update`: store today's numbers and defaults as those of NUMERICS_VERSION."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sign_ablate import NUMERICS_VERSION
from tests.campaign.test_grid import GOLDEN, _defaults
from tests.test_golden import numbers


def _without_rounding(found: dict[str, Any]) -> dict[str, Any]:
    """The found numbers, but the stored ones where they differ by another CPU's rounding alone."""
    stored = json.loads((GOLDEN / "numbers.json").read_text())["numbers"]
    return {
        cell: stored[cell] if values == pytest.approx(stored.get(cell, {}), rel=1e-6) else values
        for cell, values in found.items()
    }


def main() -> None:
    """Rewrite both files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (
            ("defaults", {"defaults": _defaults()}),
            ("numbers", {"numbers": _without_rounding(numbers(Path(folder)))}),
        ):
            text = json.dumps({"numerics": NUMERICS_VERSION, **content}, indent=1, sort_keys=True)
            (GOLDEN / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
