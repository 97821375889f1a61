"""What a run ran on: for the record, never part of its identity."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("sign-ablate", "torch", "torchvision", "numpy", "pyarrow", "snakemake")


def describe(device: torch.device, threads: int) -> dict[str, Any]:
    """Git commit, package versions, device, host."""
    return {
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
    """The commit of this source tree, with + where it has changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
