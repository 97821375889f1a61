"""A SLURM cluster of one node, with files, ports and a munge daemon of its own.

`python -m tests.cluster.slurm FOLDER` starts one to try things on. It needs the packages slurm-wlm, slurmd,
slurmctld, slurm-client and munge; their services need not run. The cluster has no accounting, as many have
not, and one GPU that does not exist: jobs that ask for it run one at a time and see CUDA_VISIBLE_DEVICES=0.
"""

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol")

SLURM_CONF = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
ReturnToService=2
# Starts jobs soon.
SchedulerParameters=sched_min_interval=500000,bf_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# A GPU needs a File. With a Count alone, the node is invalid.
GRES_CONF = "NodeName={host} Name=gpu File=/dev/zero\n"


def missing() -> str | None:
    """Reason why no cluster can be started here, or None."""
    absent = [program for program in PROGRAMS if _program(program) is None]
    if absent:
        packages = "slurm-wlm slurmd slurmctld munge slurm-client"
        return f"SLURM is not installed (no {', '.join(absent)}); Debian: {packages}"
    if os.getuid() != 0:
        return "starting slurmd needs root"
    return None


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 2, memory: int = 20_000) -> Iterator[dict[str, str]]:
    """Start a cluster with its files in `folder`, and stop it at the end.

    Args:
        folder: an empty folder with a short path: a socket's path has at most 107 characters.
        cpus: cores of the node. They need not exist.
        memory: MB of the node.

    Yields:
        The environment variables that select this cluster for SLURM's commands.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # munge refuses a folder that others may write, or that some cannot enter
    host = platform.node().split(".")[0]
    values = {"folder": folder, "host": host, "user": "root", "ports": _free_ports(2)}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**values, cpus=cpus, memory=memory))
    (folder / "gres.conf").write_text(GRES_CONF.format(host=host))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "bin").mkdir()
    # The plugin removes SLURM_CONF from the environment of the steps that jobs start.
    wrapper = folder / "bin/srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {_program("srun")} "$@"\n')
    wrapper.chmod(0o755)
    selected = {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
    }
    munge = [f"--{name}={folder}/munge.{end}" for name, end in MUNGE_FILES.items()]
    daemons = []
    try:
        for command in (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]):
            daemons.append(_start(command, folder, selected))
            time.sleep(0.5)
        _wait_until_idle(selected, folder)
        yield selected
    finally:
        subprocess.run(
            ["scancel", "--user=root"], env=os.environ | selected, check=False, capture_output=True
        )
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()


MUNGE_FILES = {
    "socket": "socket",
    "key-file": "key",
    "log-file": "log",
    "pid-file": "pid",
    "seed-file": "seed",
}


def _program(name: str) -> str | None:
    """Path of a program. Daemons are in /usr/sbin, which is not on every user's PATH."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _start(command: list[str], folder: Path, selected: dict[str, str]) -> "subprocess.Popen[bytes]":
    program = _program(command[0])
    assert program is not None
    with (folder / f"{command[0]}.out").open("wb") as output:
        return subprocess.Popen(
            [program, *command[1:]],
            env=os.environ | selected,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_idle(selected: dict[str, str], folder: Path) -> None:
    call = ["sinfo", "--noheader", "--format=%T"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = subprocess.run(call, env=os.environ | selected, capture_output=True, text=True, check=False)
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(
        path.read_text()[-2000:] for path in sorted(folder.glob("*.out")) + sorted(folder.glob("*.log"))
    )
    raise RuntimeError(f"the node is {found.stdout.strip() or found.stderr.strip()!r} and not idle:\n{logs}")


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    where.mkdir(parents=True, exist_ok=True)
    with cluster(where) as variables:
        for name, value in variables.items():
            print(f"export {name}={value}", flush=True)
        print("Ready. Ctrl-C or SIGTERM stops it.", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
