"""A copy of the repository with a tiny campaign, run once to its report."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY

PARTS = ["Snakefile", "workflow", "notebooks", "profiles", "sign_ablate", "claims.yaml", "environment.yml"]


class Repository:
    """A repository to change files in and to call Snakemake in, as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(json.dumps(config, indent=1))

    def call(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "snakemake", "--resources", "gpu=1", "--cores", "2", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=environment()
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Jobs of a dry run: rule → number of jobs, without `all` and the total."""
        done = self.call("--dry-run", *arguments)
        output = done.stdout + done.stderr
        if "Nothing to be done" in output:
            return {}
        stats = output.split("Job stats:")[-1]
        counts = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
        assert counts, output
        return {rule: n for rule, n in counts.items() if rule not in {"all", "total"}}

    def copy(self, folder: Path) -> "Repository":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Repository(folder)


def environment() -> dict[str, str]:
    """Without what pytest-cov, xdist or an earlier Snakemake may have put there."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("SNAKEMAKE", "PYTEST"))}


def make(folder: Path, config: dict[str, Any]) -> Repository:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    repository = Repository(folder)
    repository.configure(config)
    return repository


def wait_for_epoch(log: Path) -> None:
    for _ in range(2400):
        if log.exists() and "epoch 5/" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"no epoch in {log}")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The tiny campaign, done. Tests leave its files as they are; they may change its config.yaml."""
    repository = make(tmp_path_factory.mktemp("finished"), TINY)
    repository.call()
    return repository


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(TINY)
