"""Assignment of GPUs to jobs: each job locks a GPU for itself, or one of several slots on it.

Snakemake counts GPUs (`--resources gpu=4`) but does not assign them to jobs. A job claims a GPU by locking
the device's file in a folder that belongs to this user and this machine. The kernel releases the lock when
the job ends, however it ends.

- With one run per GPU, the lock of the device is exclusive. With k, a job shares it with others of that kind,
  and has one of its k slots to itself. The first slots of all devices are filled before the second ones.
- The devices are the entries of CUDA_VISIBLE_DEVICES (numbers or UUIDs) if it is set, otherwise all devices.
- CUDA_VISIBLE_DEVICES is then set to the claimed device. CUDA reads it once, on first use, so the process
  that trains claims its device before. It may be a fork of one that imported torch, which does not read it.
- SLURM assigns devices to a job and may number those of each job from 0. Locks are therefore separate for
  each SLURM job. A SLURM job with one device needs no lock.
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
#: longest wait for a GPU; a run of another campaign may take long
WAIT_SECONDS = 3600.0
#: locks of this process, held until it ends
_held: list[IO[str]] = []


def claim(device: str, runs_per_gpu: int = 1, count: int = 1) -> str:
    """Claim a device for each rank of this job. CUDA_VISIBLE_DEVICES is set to the claimed GPUs.

    Args:
        device: "cpu"; "cuda", which waits for GPUs; or "auto", which uses the CPU if too few are free.
        runs_per_gpu: number of runs that may share a GPU.
        count: number of ranks.

    Returns:
        "cpu" or "cuda".

    Raises:
        JobError: if there are too few GPUs, if none became free within WAIT_SECONDS, or if Snakemake ended in
            the meantime.
    """
    if device == "cpu" or _held:
        return "cpu" if device == "cpu" else "cuda"
    devices = candidates()
    slurm = os.environ.get("SLURM_JOB_ID")
    if not devices:
        return "cpu" if device == "auto" else "cuda"  # the job reports that CUDA is missing
    if count > len(devices):
        raise JobError(
            f"execution.max_ranks: this run has {count} workers and needs as many GPUs, this machine shows "
            f"{len(devices)} ({', '.join(devices)}); set max_ranks: 1 to compute them in one process"
        )
    if slurm and len(devices) == 1 and VISIBLE in os.environ:
        return "cuda"
    taken = _free(devices, slurm, runs_per_gpu, count)
    if taken is None and device == "auto":
        say(f"no GPU is free ({', '.join(devices)}): this run uses the CPU (cpu_fallback)")
        return "cpu"
    os.environ[VISIBLE] = _wait(devices, slurm, runs_per_gpu, count) if taken is None else taken
    return "cuda"


def candidates() -> list[str]:
    """Devices that this process may use, as named in CUDA_VISIBLE_DEVICES."""
    preset = os.environ.get(VISIBLE)
    if preset is None:
        # In another process: counting initialises CUDA, after which CUDA_VISIBLE_DEVICES has no effect.
        command = [sys.executable, "-m", "sign_ablate.jobs.device"]
        return [str(n) for n in range(int(subprocess.check_output(command, text=True)))]
    devices: list[str] = []
    for entry in (entry.strip() for entry in preset.split(",")):
        if not entry or entry.startswith("-"):  # CUDA uses the entries before an invalid one
            break
        devices.append(entry)
    return list(dict.fromkeys(devices))


def _free(devices: list[str], slurm: str | None, runs_per_gpu: int, count: int) -> str | None:
    """Lock `count` free devices and return their names; None, and no lock, if there are fewer."""
    before, found = len(_held), list[str]()
    for _ in range(count):
        device = _first_free([d for d in devices if d not in found], slurm, runs_per_gpu)
        if device is None:
            for lock in _held[before:]:
                lock.close()
            del _held[before:]
            return None
        found.append(device)
    return ",".join(found)


def _first_free(devices: list[str], slurm: str | None, runs_per_gpu: int) -> str | None:
    """Lock the first free device, or a slot on it, and return the device; None if all are taken."""
    folder = _folder()
    for slot in range(runs_per_gpu):
        for device in devices:
            name = f"gpu-{slurm + '-' if slurm else ''}{device.replace('/', '_')}"
            locks = [_try_lock(folder / f"{name}.lock", shared=runs_per_gpu > 1)]
            if runs_per_gpu > 1 and locks[0] is not None:
                locks.append(_try_lock(folder / f"{name}.{slot}.lock", shared=False))
            if None not in locks:
                _held.extend(lock for lock in locks if lock is not None)
                return device
            for lock in locks:
                if lock is not None:
                    lock.close()
    return None


def _try_lock(path: Path, *, shared: bool) -> IO[str] | None:
    """Open a file and lock it, or return None if another process holds a lock that excludes this one."""
    file = path.open("a")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _wait(devices: list[str], slurm: str | None, runs_per_gpu: int, count: int) -> str:
    names = ", ".join(devices)
    say(f"waiting for a GPU: {names} taken by this user's other jobs")
    owner, end = owner_pid(), time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        time.sleep(0.2)
        taken = _free(devices, slurm, runs_per_gpu, count)
        if taken is not None:
            return taken
        if not is_alive(owner):
            raise JobError("stopped waiting for a GPU: Snakemake has ended")
    raise JobError(
        f"no GPU was free for {WAIT_SECONDS:.0f} s (CUDA devices {names}); run fewer jobs at a time "
        "(--resources gpu=N), or wait for the other ones"
    )


def _folder() -> Path:
    """Folder of the lock files, local to this machine and private to this user."""
    folder = Path(tempfile.gettempdir()) / f"sign-ablate-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise JobError(f"{folder}: belongs to somebody else; set TMPDIR to a folder of your own")
    return folder
