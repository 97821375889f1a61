"""A campaign's wall time on a queue: `python -m benchmarks.queues` writes docs/bench-queues.md.

It needs what `make test-slurm` needs, with its plugins on PYTHONPATH.
"""

import copy
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from tests.cluster import slurm as node
from tests.cluster.conftest import CAMPAIGN, ClusterRepository, differences, ids, submissions
from tests.workflow.conftest import make

OUT = Path(__file__).parents[1] / "docs" / "bench-queues.md"
SEEDS, EPOCHS, GROUP = 4, 300, 4
NOTES = """\
`python -m benchmarks.queues` writes this page: {runs} runs of {epochs} tiny epochs each, from an empty folder
to the report, one form after the other, without a queue and on a SLURM cluster of one node, with the same
number of cores. The results are the same bytes. What SLURM and Snakemake wait for each other does not depend
on the length of a run, so that the ratios are those of short runs."""


def campaign() -> dict[str, Any]:
    """Two cells with several seeds, longer than those of the tests."""
    config = copy.deepcopy(CAMPAIGN)
    config["seeds"] = list(range(SEEDS))
    config["train"]["epochs"] = EPOCHS
    return config


def measure(form: str, folder: Path, variables: dict[str, str]) -> tuple[float, int]:
    """Wall seconds and submissions of the campaign in a form: local, single, groups or array."""
    repository = make(folder, campaign())
    if form == "local":
        start = time.monotonic()
        repository.call()
        return time.monotonic() - start, 0
    cluster = ClusterRepository(folder, "slurm", variables)
    if form == "groups":
        cluster.group(GROUP)
    start = time.monotonic()
    output = cluster.call(*(["--slurm-array-jobs", "train"] if form == "array" else [])).stdout
    return time.monotonic() - start, submissions(output)


def main() -> None:
    """Measure, print, and write the page."""
    if reason := node.missing():
        sys.exit(reason)
    forms = {
        "local": "`--cores`, no queue",
        "single": "one run per submission (`profiles/slurm`)",
        "groups": f"groups of {GROUP} runs",
        "array": "an array (`--slurm-array-jobs train`)",
    }
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(prefix="slurm-") as own:
        with node.cluster(Path(own), cpus=os.cpu_count() or 1) as variables:
            found = {form: measure(form, Path(name, form), variables) for form in forms}
        for form in forms:
            if unequal := differences(Path(name, form), Path(name, "local")):
                sys.exit(f"{form}: other bytes than locally: {', '.join(unequal)}")
    lines = ["# The same campaign without and with a queue", ""]
    lines += [NOTES.format(runs=len(ids(campaign())), epochs=EPOCHS), "", machine(), ""]
    lines += ["| form | submissions | wall s | ÷ local |", "| --- | --- | --- | --- |"]
    for form, label in forms.items():
        seconds, number = found[form]
        lines.append(f"| {label} | {number or '–'} | {seconds:.0f} | {seconds / found['local'][0]:.1f} |")
    OUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
