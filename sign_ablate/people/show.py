"""`sign-ablate show`: one run."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from sign_ablate.people.runs import state
from sign_ablate.train.metrics import ENVIRONMENT, METRICS, RUN


class NotFoundError(LookupError):
    """No run, or more than one, goes by that name."""


def show(name: str, results: Path) -> str:
    """The run whose id contains `name`. Raises NotFoundError where there is none or more than one."""
    folders = sorted(path for path in results.glob("*/runs/*") if name in path.name)
    exact = [path for path in folders if path.name == name]
    if len(exact or folders) != 1:
        what = "no run" if not folders else f"{len(folders)} runs"
        hint = "\n".join(f"  {path}" for path in folders[:10]) or f"  (looked for {results}/*/runs/*{name}*)"
        raise NotFoundError(f"{name}: {what} of that name\n{hint}")
    folder = (exact or folders)[0]
    lines = [str(folder), f"state: {state(folder)}"]
    if (folder / RUN).exists():
        run = json.loads((folder / RUN).read_text())
        for part, values in run["resolved"].items():
            lines.append(f"{part}: {json.dumps(values)}")
    if (folder / ENVIRONMENT).exists():
        environment = json.loads((folder / ENVIRONMENT).read_text())
        lines.append(
            f"ran on {environment['device']} ({environment['host']}), "
            f"torch {environment['versions']['torch']}, commit {environment['git_commit']}, "
            f"{environment['seconds']:.1f} s"
        )
    if (folder / METRICS).exists():
        frame = pq.read_table(folder / METRICS).to_pandas().dropna(axis="columns", how="all")
        lines += ["", frame.tail(10).to_string(index=False, float_format=lambda value: f"{value:.4g}")]
    return "\n".join(lines)
