"""Lookup of a run by the name given on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sign_ablate.store import record
from sign_ablate.store.layout import runs_folder
from sign_ablate.store.record import DamagedError
from sign_ablate.terminal.states import counted, state

MATCHES_SHOWN = 10


class NotFoundError(LookupError):
    """No run, or more than one, matches the name."""


def find(name: str, results: Path) -> Path:
    """Find the folder of a run.

    Args:
        name: a run's id, the beginning of an id up to a dot, any other part of it, or the path of the run's
            folder. A more exact match takes precedence, in this order.
        results: the results folder.

    Raises:
        NotFoundError: if no run or several match. The message lists what to type instead.
    """
    wanted = name.rstrip("/").rpartition("/")[2]
    folders = sorted(path for path in runs_folder(results).glob("*") if path.is_dir())
    ways: tuple[Callable[[str], bool], ...] = (
        lambda run: run == wanted,
        lambda run: run.startswith(f"{wanted}."),  # s1 is not s10
        lambda run: wanted in run,
    )
    for fits in ways:
        matches = [path for path in folders if fits(path.name)]
        if matches:
            break
    else:
        raise NotFoundError(
            f"{name}: no run of that name in {runs_folder(results)}/; give a part of an id, such as "
            "digits.sgd.s0 (`sign-ablate runs` lists them)"
        )
    if len(matches) > 1:
        raise NotFoundError(_choice(name, matches))
    return matches[0]


def _choice(name: str, matches: list[Path]) -> str:
    """Message for several matches: what to type, then each match with its state and differing options."""
    shown = matches[:MATCHES_SHOWN]
    options = [_options(path) for path in shown]
    rows = []
    for path, own in zip(shown, options, strict=True):
        differs = [
            f"{key}={value}" for key, value in own.items() if any(o.get(key) != value for o in options)
        ]
        rows.append((path.name, state(path), " ".join(differs)))
    more = [f"and {len(matches) - len(shown)} more"] if len(matches) > len(shown) else []
    line = f"{name}: {counted(len(matches), 'run')} of that name; type more of it, such as {rows[0][0]}"
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    listed = [f"  {run:{widths[0]}}  {how:{widths[1]}}  {differs}".rstrip() for run, how, differs in rows]
    return "\n".join([line, *listed, *more])


def _options(folder: Path) -> dict[str, Any]:
    """Options of a run that are not defaults, from its record. Empty if there is no readable record."""
    try:
        run = record.read(folder)
    except (OSError, DamagedError):
        return {}
    parts = run.spec.items() if run else ()
    return {
        f"{part}.{key}": value
        for part, values in parts
        if isinstance(values, dict)
        for key, value in values.items()
    }
