"""Campaigns on a cluster of one node, and the files of the same campaign run locally."""

import copy
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from tests.cluster import slurm as node
from tests.conftest import TINY
from tests.workflow.conftest import Repository, environment, make

#: two cells with two seeds each, a figure and the tables
CAMPAIGN: dict[str, Any] = {
    **TINY,
    "methods": {name: TINY["methods"][name] for name in ("sgd", "post-dither")},
    "figures": {"figure1": TINY["figures"]["figure1"]},
}
#: files that differ between two runs of a campaign: logs, wall times, and the report, which has both
DIFFERENT = {"times.parquet", "timing.parquet", "environment.json", "report.html", "running.json"}
SECONDS = 1200


class ClusterRepository(Repository):
    """A repository whose Snakemake runs its jobs on a cluster.

    Args:
        folder: the repository.
        profile: a profile of the repository.
        variables: environment variables of the cluster.
    """

    def __init__(self, folder: Path, profile: str, variables: dict[str, str]) -> None:
        super().__init__(folder)
        self._profile, self._variables = profile, variables

    def call(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments) as call:
            output, _ = call.communicate(timeout=SECONDS)
        assert not check or call.returncode == 0, output
        return subprocess.CompletedProcess(call.args, call.returncode, output, "")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start Snakemake without waiting for it."""
        command = [sys.executable, "-m", "snakemake", "--profile", f"profiles/{self._profile}", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment() | self._variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def command(self, *words: str) -> str:
        """Output of a command of the cluster."""
        return subprocess.run(
            words, env=environment() | self._variables, capture_output=True, text=True, check=True
        ).stdout

    def group(self, runs: int) -> None:
        """Put this many runs into one submission, as docs/cluster.md says."""
        path = self.folder / "profiles/slurm/config.yaml"
        text = path.read_text().replace("groups:\n", "groups:\n  - train=cells\n")
        path.write_text(f"{text}group-components:\n  - cells={runs}\n")

    def log(self, run: str) -> str:
        """Log of a run's training, or an empty text."""
        path = self.folder / f"results/tiny/logs/train/{run}.log"
        return path.read_text() if path.exists() else ""


def ids(config: dict[str, Any]) -> list[str]:
    """Ids of a campaign's runs, in Snakemake's order."""
    return [run.id for run in expand(parse_campaign(config))]


def submissions(output: str) -> int:
    """Number of submissions in Snakemake's output. An array is one."""
    jobs = re.findall(r"(?:submitted with SLURM jobid|SLURM job ID|external jobid) '?(\w+)", output)
    return len(set(jobs))


def differences(one: Path, other: Path) -> list[str]:
    """Files below `results` that are not the same in two repositories, byte by byte."""
    files = [_results(one), _results(other)]
    return sorted(
        name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name)
    )


def _results(repository: Path) -> dict[str, bytes]:
    folder = repository / "results"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in DIFFERENT
        and not path.name.startswith(".")
        and not {"logs", "benchmarks"} & set(path.parts)
    }


def wait(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """A running SLURM cluster: the environment variables that select it."""
    absent = "" if find_spec("snakemake_executor_plugin_slurm") else "no snakemake-executor-plugin-slurm"
    if reason := absent or node.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, node.cluster(Path(folder)) as selected:
        yield selected


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign, done without a cluster."""
    repository = make(tmp_path_factory.mktemp("local") / "repository", CAMPAIGN)
    repository.call()
    return repository.folder


@pytest.fixture
def campaign() -> dict[str, Any]:
    return copy.deepcopy(CAMPAIGN)
