"""Devices and CPU features, without importing torch: the Snakefile uses this on every start."""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Literal

CPUINFO = Path("/proc/cpuinfo")


@cache
def gpu_count() -> int:
    """Number of CUDA devices visible to this process (CUDA_VISIBLE_DEVICES is respected)."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except OSError:
        return 0
    return count.value


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_has_bfloat16() -> bool:
    """Return True if the CPU has bfloat16 instructions, or if that is unknown. Otherwise torch emulates."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return True
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return not flags or bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def resolve(device: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Resolve `auto` to `cuda` if there is a GPU, else to `cpu`. `cuda` is not checked (head nodes)."""
    if device == "auto":
        return "cuda" if gpu_count() > 0 else "cpu"
    return device


if __name__ == "__main__":
    print(gpu_count())
