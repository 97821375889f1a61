"""Description of the environment of a run. It is recorded, but is not part of the run's identity."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sign_ablate.store import fingerprint

_PACKAGES = ("sign-ablate", "torch", "torchvision", "numpy", "pyarrow", "snakemake")


def describe(device: torch.device, threads: int) -> dict[str, Any]:
    """Describe code, git commit, package versions, device and host at the start of a run."""
    return {
        "code": fingerprint.of_training(),
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "device": f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type,
        "cpu": _cpu_name(),
        "threads": threads,
        "host": platform.node(),
        "platform": platform.platform(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def _git_commit() -> str | None:
    """Commit of this source tree, with a + if the tree has changes, or None outside a git checkout of it.

    An untracked file counts as a change only if it is in this package.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(fingerprint.PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", "__init__.py"
        )  # a copy may be in the repository of another project
        commit = git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+")
        untracked = git("ls-files", "--others", "--exclude-standard")
        return commit if commit.endswith("+") or not untracked else f"{commit}+"
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
