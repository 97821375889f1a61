"""Compilation of step.c by the system's C compiler, once per machine, and its loading.

Plain C without torch's headers compiles in under two seconds; torch.compile takes 11 to 20 s cold and
1 to 2 s warm for the same loop, and its noise is slower (docs/bench-optim.md).
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

_SOURCE = Path(__file__).with_name("step.c")
_FLAGS = (
    *("-O3", "-march=native", "-fopenmp-simd", "-shared", "-fPIC"),
    # as torch rounds; and selections instead of branches, so that GCC vectorizes with AVX2 too
    *("-ffp-contract=off", "-fno-trapping-math"),
)
#: tried first, as not every compiler has it; compilers prefer 256 bits on some CPUs with 512
_WIDE = "-mprefer-vector-width=512"
_TIMEOUT_S = 60


@functools.cache
def library() -> ctypes.CDLL | None:
    """Load the compiled step. If it cannot be compiled, warn once and return None."""
    try:
        path = _path()
        if not path.exists():
            _compile(path)
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # cut off by a loss of power, for example
            _compile(path)
            return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"no fused CPU step ({error}); the plain one gives the same numbers, more slowly", stacklevel=2
        )
        return None


def is_obtainable() -> bool:
    """Return True if the step is compiled already or a compiler is found. Nothing is compiled."""
    try:
        return compiler() is not None or _path().exists()
    except (OSError, RuntimeError):  # no folder for it can be created
        return False


def _path() -> Path:
    return _cache_folder() / f"step-{_key()}.so"


def compiler() -> str | None:
    """Find the C compiler: that of CC, cc, gcc or clang."""
    names = (os.environ.get("CC") or "cc", "cc", "gcc", "clang")
    return next(filter(None, map(shutil.which, names)), None)


def _compile(path: Path) -> None:
    found = compiler()
    if found is None:
        raise RuntimeError("no C compiler found")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        output = Path(folder) / path.name
        for wide in ((_WIDE,), ()):
            command = [found, *_FLAGS, *wide, str(_SOURCE), "-o", str(output), "-lm"]
            result = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
            if result.returncode == 0:
                os.replace(output, path)  # atomic: another process sees the whole file or none
                return
    lines = result.stderr.strip().splitlines() or ["no message"]
    raise RuntimeError(f"{found}: {lines[0]}")


def _key() -> str:
    """Hash of source, flags and CPU: machines that share a home folder may need different machine code."""
    parts = [
        _SOURCE.read_bytes(),
        repr((_FLAGS, _WIDE, platform.machine(), platform.system())).encode(),
        _cpu(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _cpu() -> bytes:
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    wanted = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))


@functools.cache
def _cache_folder() -> Path:
    try:  # Path.home() fails for a user without an entry in the password database
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sign-ablate"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.mkdtemp(prefix="sign-ablate-"))
