"""The README's table of what each optimizer supports: `yes` where the tests of the column run over it.

`python -m tests.optim.support` writes it.
"""

import re
from collections.abc import Callable
from typing import Any

import torch

from tests.conftest import ROOT
from tests.optim import test_distributed, test_foreach_of_all, test_support, test_torch_contract
from tests.optim.optimizer_infos import INFOS

README = ROOT / "README.md"
_START, _END = "<!-- what each optimizer supports: python -m tests.optim.support -->", "<!-- end -->"

#: a row of the table → its OptimizerInfo entries, all of which a cell is about
ROWS = {
    "[SignSGD, SignSGD-M](docs/optim/signsgd.md)": ["SignSGD"],
    "[pre- and post-sign dither](docs/optim/dither.md)": ["DitheredSignSGD"],
    "[hybrid SignSGD-M → SGD](docs/optim/hybrid.md), fixed or automatic switch": ["HybridSignSGD"],
    "[linear twin](docs/optim/linear-twin.md) of pre-sign dither, with noise or without": [
        "ClearLinearTwin",
        "NoisyLinearTwin",
    ],
    "[SGD with annealed gradient noise](docs/optim/sgd-noise.md)": ["ShortNoisySGD"],
    "[Lion](docs/optim/lion.md)": ["Lion"],
    "[scaled sign, EF-SignSGD](docs/optim/scaled-sign-and-ef.md)": ["ScaledSignSGD"],
    "[1-bit SGD, QSGD, TernGrad, Top-K](docs/optim/compressed-sgd.md), with error feedback or without": [
        "OneBitSGD",
        "QSGDSGD",
        "TernGradSGD",
        "TopKSGD",
    ],
    "[SWATS](docs/optim/swats.md)": ["SWATS"],
    "[1-bit Adam](docs/optim/onebit-adam.md)": ["ShortOneBitAdam"],
}

_listed = {entry for entries in ROWS.values() for entry in entries} | {"UncompressedSGD"}
for _info in INFOS:  # a newly registered optimizer has a row by itself
    if _info.name not in _listed:
        ROWS[_info.name] = [_info.name]


def _of(test: Callable[..., None]) -> set[str]:
    """The entries over which a test runs."""
    (found,) = [m.args[1] for m in test.pytestmark if m.name == "parametrize" and m.args[0] == "info"]  # type: ignore[attr-defined]
    return {info.name for info in found if not test_torch_contract.skipped(info, test.__name__)}


def _distributed(kind: str) -> set[str]:
    """The entries with a case in test_distributed, which runs all of them by each kind."""
    marks: list[Any] = test_distributed.test_two_processes_make_the_step_of_one.pytestmark
    (kinds,) = [m.args[1] for m in marks if m.args[0] == "kind"]
    (cases,) = [m.args[1] for m in marks if m.args[0] == "name"]
    return {test_distributed.CASES[name][0] for name in cases} if kind in kinds else set()


def _by_foreach() -> set[str]:
    """The entries with a case in test_foreach_of_all: all but the sign methods."""
    p = torch.nn.Parameter(torch.ones(1))
    classes = tuple({type(make([p])) for make in test_foreach_of_all.KIN.values()})
    return {info.name for info in INFOS if issubclass(info.optim_cls, classes)}


#: a column of the table → the entries that pass its tests
COLUMNS = {
    "groups, schedulers": _of(test_torch_contract.test_param_groups_lr)
    & _of(test_torch_contract.test_param_groups_weight_decay)
    & _of(test_torch_contract.test_param_group_with_lrscheduler_goes_right_direction),
    "exact `state_dict`": _of(test_torch_contract.test_state_dict_deterministic)
    & _of(test_torch_contract.test_save_load_equality_with_weights_only),
    "GradScaler": _of(test_support.test_gradscaler),
    "DDP": _distributed("ddp"),
    "FSDP2": _distributed("fsdp"),
    "`foreach`": _of(test_torch_contract.test_foreach_matches_forloop) | _by_foreach(),
    "`fused` (CPU)": _of(test_torch_contract.test_fused_matches_forloop),
    "`capturable`": _of(test_support.test_capturable),
    "`differentiable`": _of(test_support.test_differentiable),
}


def table() -> str:
    """The table, in Markdown."""
    lines = [f"| optimizer | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * len(COLUMNS)]
    for row, entries in ROWS.items():
        cells = ["yes" if set(entries) <= found else "–" for found in COLUMNS.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The README with today's table."""
    found, count = re.subn(f"{_START}\n.*?{_END}", f"{_START}\n{table()}\n{_END}", text, flags=re.DOTALL)
    assert count == 1
    return found


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
