"""Which device jobs will use, found without importing torch: the Snakefile asks on every start."""

import ctypes
from functools import cache
from typing import Literal


@cache
def gpu_count() -> int:
    """CUDA devices that the driver shows this process (CUDA_VISIBLE_DEVICES is respected)."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except OSError:
        return 0
    return count.value


def resolve(device: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """`auto` is a GPU where there is one. `cuda` is taken at its word: a head node may have none."""
    if device == "auto":
        return "cuda" if gpu_count() > 0 else "cpu"
    return device


if __name__ == "__main__":
    print(gpu_count())
