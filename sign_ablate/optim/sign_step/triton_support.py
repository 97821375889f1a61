"""Where the Triton step can run."""

import functools
import importlib
import importlib.util
import os
import subprocess
import warnings

import torch


@functools.cache
def is_installed() -> bool:
    """Return True if the package is installed. It is not imported."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def has_driver() -> bool:
    """Build Triton's driver, which compiles C code on its first use. If it cannot be built, warn once."""
    try:
        importlib.import_module("triton.runtime").driver.active.get_current_target()
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"no Triton step ({error}); torch's foreach functions give the same numbers, more slowly: "
            "install a C compiler (gcc), or name one in CC",
            stacklevel=2,
        )
        return False
    return True


def runs_on(device: torch.device) -> bool:
    """Return True for CUDA devices, and with TRITON_INTERPRET=1 for the CPU, too, where it is slow."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return device.type in ("cpu", "cuda")
    return device.type == "cuda" and has_driver()
