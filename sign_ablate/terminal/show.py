"""`sign-ablate show`: details of one run."""

import json
from pathlib import Path

from sign_ablate.store import reading, record
from sign_ablate.store.record import DamagedError
from sign_ablate.terminal.find import find
from sign_ablate.terminal.states import outcome, state


def show(name: str, results: Path) -> str:
    """Format the configuration, state and last epochs of the run that `find` returns for `name`."""
    folder = find(name, results)
    ended = outcome(folder)
    problems = [*ended.problems] if ended else []
    known = []
    for part in (_configuration, _environment, _epochs):
        try:
            known += part(folder)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            problems.append(str(error))
    return "\n".join([str(folder), f"state: {state(folder)}", *dict.fromkeys(problems), *known])


def _configuration(folder: Path) -> list[str]:
    run = record.read(folder)
    return [f"{part}: {json.dumps(values)}" for part, values in run.resolved] if run else []


def _environment(folder: Path) -> list[str]:
    found = reading.environment(folder)
    torch = (found.versions or {}).get("torch")
    parts = [
        found.device and f"ran on {found.device} ({found.host})",
        torch and f"torch {torch}",
        found.git_commit and f"commit {found.git_commit}",
        found.code and f"code {found.code}",
        found.seconds is not None and f"{found.seconds:.1f} s",
    ]
    return [", ".join(part for part in parts if part)] if any(parts) else []


def _epochs(folder: Path) -> list[str]:
    _, step = reading.end(folder)
    lines = [] if step is None else [f"loss or gradient not finite at step {step}"]
    frame = reading.metrics(folder).to_pandas().dropna(axis="columns", how="all")
    if len(frame):
        lines += ["", frame.tail(10).to_string(index=False, float_format=lambda value: f"{value:.4g}")]
    return lines
