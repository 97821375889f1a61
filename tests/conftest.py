"""What all tests share."""

import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest

# One thread each: pytest-xdist runs a test per core, and results must not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]

#: every method once, on synthetic images, in a second or two
TINY: dict[str, Any] = {
    "campaign": "tiny",
    "seeds": [0, 1],
    "datasets": {"synthetic": {"source": "synthetic", "train_images": 96, "test_images": 64}},
    "train": {"model": "small", "epochs": 3, "batch_size": 32},
    "methods": {
        "sgd": {"optimizer": "sgd", "lr": 0.05},
        "adam": {"optimizer": "adam", "lr": 0.003},
        "signsgd": {"optimizer": "signsgd", "lr": 0.002},
        "signsgd-m": {"optimizer": "signsgd-m", "lr": 0.002},
        "pre-dither": {"optimizer": "dithered", "site": "pre", "alpha": [0.01, 0.1], "lr": 0.002},
        "post-dither": {"optimizer": "dithered", "site": "post", "alpha": 0.1, "lr": 0.002},
        "hybrid": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 1},
        "dithered-hybrid": {
            "optimizer": "dithered-hybrid",
            "site": "pre",
            "alpha": 0.01,
            "lr": 0.002,
            "t_switch": 1,
        },
        "naive-switch": {"optimizer": "naive-switch", "lr": 0.002, "t_switch": 1},
    },
    "figures": {
        "figure1": {"kind": "dithering", "dataset": "synthetic"},
        "figure2": {"kind": "switching", "dataset": "synthetic", "t_switch": 1},
    },
    "execution": {"device": "cpu"},
}


def pids(pattern: str) -> list[int]:
    """The processes whose command line matches, this one left out. Needs no pgrep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if re.search(pattern, line) and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A configuration to change and load."""
    return copy.deepcopy(TINY)
