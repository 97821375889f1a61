"""Campaigns, fixtures and helpers that the tests share."""

import contextlib
import copy
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sign_ablate.optim.registry import METHODS

if TYPE_CHECKING:
    from sign_ablate.campaign.grid import Run

# One thread per test: pytest-xdist runs a test per core, and results must not depend on the machine.
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

#: every optimizer and every trigger of a switch; fixed switches are at step 3 of 9
EVERY_METHOD: dict[str, Any] = {
    **TINY["methods"],
    "adamw": {"optimizer": "adam", "lr": 0.003, "weight_decay": 0.01, "decoupled": True},
    "pre-dither-rms": {
        "optimizer": "dithered", "site": "pre", "alpha": 0.1, "lr": 0.002,
        "scale": "tensor_rms", "k_unit": "epoch",
    },
    "hybrid-auto": {"optimizer": "hybrid", "lr": 0.002, "trigger": "stable", "tolerance": 0.9, "patience": 3},
    "hybrid-plateau": {
        "optimizer": "hybrid", "lr": 0.002, "trigger": "plateau", "tolerance": 0.5, "patience": 2,
    },
    "hybrid-sign": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 1, "after": "sign"},
    "hybrid-kept": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 1, "length": "kept"},
    "twin": {"optimizer": "linear-twin", "lr": 0.002, "alpha": 0.1},
    "twin-noise": {"optimizer": "linear-twin", "lr": 0.002, "alpha": 0.1, "noise": True},
    "sgd-noise": {"optimizer": "sgd-noise", "lr": 0.05, "alpha": 0.001},
    "lion": {"optimizer": "lion", "lr": 0.001},
    "scaled-sign": {"optimizer": "scaled-sign", "lr": 0.05},
    "ef-signsgd": {"optimizer": "ef-signsgd", "lr": 0.05},
    "onebit-sgd": {"optimizer": "onebit-sgd", "lr": 0.05},
    "qsgd": {"optimizer": "qsgd", "lr": 0.05},
    "terngrad": {"optimizer": "terngrad", "lr": 0.05},
    "topk": {"optimizer": "topk", "lr": 0.05},
    "swats": {"optimizer": "swats", "lr": 0.003, "tol": 1.0e3},
    "onebit-adam": {"optimizer": "onebit-adam", "lr": 0.003, "warmup_steps": 4, "eps": 1.0e-4},
}  # fmt: skip
# A registered optimizer without an entry above runs with its defaults.
for _name in METHODS.keys() - {method["optimizer"] for method in EVERY_METHOD.values()}:
    EVERY_METHOD[_name] = {"optimizer": _name, "lr": 0.01}


def pids(pattern: str) -> list[int]:
    """Ids of the other processes whose command line matches. Does not need pgrep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if re.search(pattern, line) and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def hang_up(handler: signal.Handlers) -> Iterator[None]:
    """Set the SIGHUP handler that child processes inherit, even if the tests run under nohup."""
    former = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, former)


def write_outcome(
    folder: Path,
    run: "Run",
    rows: list[dict[str, Any]],
    diverged_at: int | None,
    predictions: list[dict[str, Any]] | None = None,
) -> None:
    """Write `predictions.parquet`, `run.json` and `metrics.parquet` as a training job does."""
    from sign_ablate.store import record, run_files

    status = "finished" if diverged_at is None else "diverged"
    step = "" if diverged_at is None else str(diverged_at)
    metadata = {"status": status, "diverged_at_step": step, "spec": run.spec}
    content = run_files.table_bytes(rows, run_files.METRICS_SCHEMA, metadata)
    recorded = {
        "predictions_sha256": None,
        "status": status,
        "diverged_at_step": diverged_at,
        "metrics_sha256": record.digest(content),
        "metrics_version": run_files.SCHEMA_VERSION,
        "spec": json.loads(run.spec),
        "resolved": run.config.model_dump(mode="json"),
    }
    if predictions is not None:
        packed = run_files.table_bytes(predictions, run_files.PREDICTIONS_SCHEMA)
        run_files.write_bytes(folder / run_files.PREDICTIONS, packed)
        recorded["predictions_sha256"] = record.digest(packed)
    run_files.write_text(folder / run_files.RUN, json.dumps(recorded))
    run_files.write_bytes(folder / run_files.METRICS, content)


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Copy of TINY for the test to change."""
    return copy.deepcopy(TINY)
