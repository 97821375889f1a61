"""Which GPU is whose: each job on a machine with several takes one for itself.

Snakemake counts GPUs (`--resources gpu=4`) and does not say which one a job has. A claim is a lock on a file
per device in a folder of this user's on this machine. The kernel frees it when the job ends, however it ends.

- The devices are the entries of CUDA_VISIBLE_DEVICES, where it is set (numbers or UUIDs), or all there are.
- The claim becomes CUDA_VISIBLE_DEVICES. CUDA reads that once, when a process first uses it: a claim comes
  before, in the process that trains. That may be a fork of one that has imported torch, which reads nothing.
- Slurm gives a job its devices, and may number each job's from 0: claims are apart per Slurm job, and where
  that has one device, there is nothing to choose.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from sign_ablate.jobs.log import say
from sign_ablate.jobs.parent import is_alive, owner_pid
from sign_ablate.jobs.run_lock import JobError

VISIBLE = "CUDA_VISIBLE_DEVICES"
#: another campaign's run may be a long one
WAIT_SECONDS = 3600.0
#: the locks of this process, held to its end
_held: list[IO[str]] = []


def claim(device: str) -> str:
    """The device to train on, cpu or cuda, with CUDA_VISIBLE_DEVICES set to a GPU that is this process's own.

    Args:
        device: cpu; cuda, which waits for a GPU; or auto, which takes the CPU where no GPU is free.

    Raises:
        JobError: where no GPU was free for WAIT_SECONDS.
    """
    if device == "cpu" or _held:
        return "cpu" if device == "cpu" else "cuda"
    devices = candidates()
    slurm = os.environ.get("SLURM_JOB_ID")
    if not devices:
        return "cpu" if device == "auto" else "cuda"  # the job says what is wrong with cuda
    if slurm and len(devices) == 1 and VISIBLE in os.environ:
        return "cuda"
    taken = _first_free(devices, slurm)
    if taken is None and device == "auto":
        say(f"no GPU of {', '.join(devices)} is free: this run takes the CPU (cpu_fallback)")
        return "cpu"
    os.environ[VISIBLE] = _wait(devices, slurm) if taken is None else taken
    return "cuda"


def candidates() -> list[str]:
    """The devices that this process may use, by the names that CUDA_VISIBLE_DEVICES has for them."""
    preset = os.environ.get(VISIBLE)
    if preset is None:
        # Elsewhere: counting initialises CUDA, and from then on a choice comes too late.
        command = [sys.executable, "-m", "sign_ablate.jobs.device"]
        return [str(n) for n in range(int(subprocess.check_output(command, text=True)))]
    devices: list[str] = []
    for entry in (entry.strip() for entry in preset.split(",")):
        if not entry or entry.startswith("-"):  # CUDA takes those before an invalid one
            break
        devices.append(entry)
    return list(dict.fromkeys(devices))


def _first_free(devices: list[str], slurm: str | None) -> str | None:
    """A device that was free, and is locked now."""
    folder = _folder()
    for device in devices:
        file = (folder / f"gpu-{slurm + '-' if slurm else ''}{device.replace('/', '_')}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return device
    return None


def _wait(devices: list[str], slurm: str | None) -> str:
    names = ", ".join(devices)
    say(f"waiting for a GPU: {names} taken by other jobs of this user's")
    owner, end = owner_pid(), time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        time.sleep(0.2)
        taken = _first_free(devices, slurm)
        if taken is not None:
            return taken
        if not is_alive(owner):
            raise JobError("stopped waiting for a GPU: its Snakemake is gone")
    raise JobError(
        f"no GPU was free for {WAIT_SECONDS:.0f} s (CUDA devices {names}); run fewer jobs at a time "
        "(--resources gpu=N), or wait for the other ones"
    )


def _folder() -> Path:
    """Where the locks are: on this machine, and this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"sign-ablate-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise JobError(f"{folder}: belongs to somebody else; set TMPDIR to a folder of your own")
    return folder
