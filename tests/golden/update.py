"""`python -m tests.golden.update`: store today's numbers and defaults as those of NUMERICS_VERSION."""

import json
import tempfile
from pathlib import Path

from sign_ablate import NUMERICS_VERSION
from tests.test_golden import numbers
from tests.test_grid import GOLDEN, _defaults


def main() -> None:
    """Rewrite both files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (
            ("defaults", {"defaults": _defaults()}),
            ("numbers", {"numbers": numbers(Path(folder))}),
        ):
            text = json.dumps({"numerics": NUMERICS_VERSION, **content}, indent=1, sort_keys=True)
            (GOLDEN / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
