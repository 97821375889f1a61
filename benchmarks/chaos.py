"""`make chaos`: a campaign whose processes are killed at random gives the bytes of an undisturbed one.

Two copies of the repository run the same campaign. The first is undisturbed. In the second, every few
seconds, a training job, the process that trains for it, the warm process or Snakemake itself is killed.
Snakemake is started again until the campaign is done. Then every Parquet file without wall times must be
bitwise equal, and no process may be left.

If the campaign is done before enough processes were killed, the metrics.parquet of a random run is deleted.
The run is then trained again, from the start, since its checkpoint is gone.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sign_ablate.config.read import read_yaml
from tests.workflow.conftest import make

MARK = "SIGN_ABLATE_CHAOS"
WALL_TIMES = {"times.parquet", "timing.parquet"}
#: weight of each kind of process; low for Snakemake, which takes seconds to start and must make progress
WEIGHTS = {"client": 5, "child": 5, "server": 3, "snakemake": 1, "snakemake's group": 1}
#: time for a process to end after its Snakemake (at worst, a notebook)
GRACE_SECONDS = 60


@dataclasses.dataclass
class Tally:
    """Counts of the kills and their consequences."""

    kills: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    calls: int = 0
    removed: int = 0
    undone: int = 0
    orphans: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of the disturbed campaign: its id, its command, and the number of its Snakemake call."""

    pid: int
    command: list[str]
    call: int

    @property
    def kind(self) -> str | None:
        """Kind of process: client, child or server, or None for one that is not killed on its own."""
        if self.command[1:4] == ["-m", "sign_ablate", "train"]:
            return "client"
        if self.command[1:3] == ["-m", "sign_ablate.jobs.warm.server"]:
            try:
                return "server" if os.getsid(self.pid) == self.pid else "child"
            except ProcessLookupError:
                return None
        return None


def processes() -> list[Process]:
    """All processes whose environment has this program's mark, even if their parents have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        marks = [entry for entry in environment if entry.startswith(f"{MARK}={os.getpid()}-".encode())]
        if marks and command[0]:
            found.append(Process(int(folder.name), command, int(marks[0].decode().split("-")[-1])))
    return found


class Chaos:
    """The disturbed campaign, and the killing of its processes."""

    def __init__(self, folder: Path, products: set[Path], seed: int, target: int, log: Path) -> None:
        self.folder, self.target, self.log = folder, target, log
        self.products = {folder / path for path in products}
        self.random = random.Random(seed)
        self.tally = Tally()
        self.ended: dict[int, float] = {}  # call → when its Snakemake ended

    def run(self) -> None:
        """Kill processes and call Snakemake again, until the campaign is done and enough were killed."""
        while True:
            status = self._call()
            if status == 0 and not all(path.exists() for path in self.products):
                self.tally.undone += 1
            elif status == 0 and self.tally.kills.total() >= self.target:
                break
            elif status == 0:
                runs = [path for path in sorted(self.products) if path.name == "metrics.parquet"]
                self.random.choice(runs).unlink()
                self.tally.removed += 1
        end = time.monotonic() + GRACE_SECONDS
        while processes() and time.monotonic() < end:
            time.sleep(0.5)
        self.tally.orphans |= {" ".join(process.command) for process in processes()}

    def _snakemake(self, *arguments: str) -> "subprocess.Popen[bytes]":
        self.tally.calls += 1
        with self.log.open("ab") as log:
            return snakemake(self.folder, log, *arguments, mark=f"{os.getpid()}-{self.tally.calls}")

    def _call(self) -> int:
        """Call Snakemake, killing processes meanwhile. Returns its exit status."""
        process = self._snakemake()
        while process.poll() is None:
            try:
                process.wait(self.random.uniform(1, 4))
            except subprocess.TimeoutExpired:
                self._look_for_orphans()
                # A limit on the kills, so that an unlucky campaign ends as well.
                if self.tally.kills.total() < 2 * self.target:
                    self._kill(process)
        self.ended[self.tally.calls] = time.monotonic()
        return process.returncode

    def _kill(self, snakemake: "subprocess.Popen[bytes]") -> None:
        """Send a random signal to a process (or group) of a random kind, if there is one."""
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
        try:
            if kind == "snakemake":
                snakemake.send_signal(number)
            elif kind == "snakemake's group":
                os.killpg(snakemake.pid, number)
            else:
                victims = sorted(process.pid for process in processes() if process.kind == kind)
                if not victims:
                    return
                os.kill(self.random.choice(victims), number)
        except ProcessLookupError:
            return
        self.tally.kills[kind, number.name] += 1
        with self.log.open("a") as log:
            log.write(f"chaos: {number.name} to {kind}\n")

    def _look_for_orphans(self) -> None:
        for process in processes():
            if time.monotonic() - self.ended.get(process.call, float("inf")) > GRACE_SECONDS:
                self.tally.orphans.add(" ".join(process.command))


def snakemake(folder: Path, log: Any, *arguments: str, mark: str = "") -> "subprocess.Popen[bytes]":
    """Start Snakemake as the leader of a process group."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--resources", "gpu=1", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, MARK: mark},
    )  # fmt: skip


def tables(folder: Path) -> dict[Path, bytes]:
    """Content of every Parquet file without wall times, by its path."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if path.name not in WALL_TIMES
    }


def report(tally: Tally, expected: dict[Path, bytes], found: dict[Path, bytes], seconds: float) -> bool:
    """Print the summary. Returns True if the test has passed."""
    names = sorted(expected.keys() | found.keys())
    different = [str(name) for name in names if expected.get(name) != found.get(name)]
    print(f"{tally.kills.total()} kills in {seconds:.0f} s:")
    for kind in WEIGHTS:
        counts = [f"{tally.kills[kind, name]} {name}" for name in ("SIGKILL", "SIGTERM")]
        print(f"  {kind:18} {', '.join(counts)}")
    print(f"{tally.calls} calls of Snakemake")
    print(f"{tally.removed} runs deleted when all were done, to have something left to kill")
    print(f"{len(names)} Parquet files compared, {len(different)} differ {different[:5] or ''}")
    print(f"{len(tally.orphans)} orphan processes {sorted(tally.orphans)[:5] or ''}")
    print(f"{tally.undone} calls that exited with 0 and left work undone", flush=True)
    return bool(expected) and not (different or tally.orphans or tally.undone)


def main() -> None:
    """Parse the command line and run both campaigns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--kills", type=int, default=50, help="minimum number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed for the choice of processes")
    options = parser.parse_args()
    config = read_yaml(options.config)
    # Runs are bitwise equal on the CPU. With a checkpoint each second, most kills find one.
    config["execution"] = {**config.get("execution", {}), "device": "cpu", "checkpoint_seconds": 1}
    folder = Path(tempfile.mkdtemp(prefix="sign-ablate-chaos-"))
    calm, wild = (make(folder / name, config).folder for name in ("undisturbed", "disturbed"))
    print(f"in {folder}", flush=True)
    with (folder / "undisturbed.log").open("wb") as log:
        if snakemake(calm, log).wait() != 0:
            sys.exit(f"the undisturbed campaign failed: {folder}/undisturbed.log")
    start = time.monotonic()
    expected = tables(calm)
    chaos = Chaos(wild, set(expected), options.seed, options.kills, folder / "disturbed.log")
    try:
        chaos.run()
    finally:  # after Ctrl-C, or for orphans, which are counted by now
        for process in processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    if not report(chaos.tally, expected, tables(wild), time.monotonic() - start):
        sys.exit(f"the disturbed campaign differs; its log: {folder}/disturbed.log")


if __name__ == "__main__":
    main()
