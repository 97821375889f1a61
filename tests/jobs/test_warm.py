"""Warm start: a forked job behaves like any other job, and the server ends with its Snakemake."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.jobs import parent, training, warm
from sign_ablate.jobs.run_lock import is_running
from sign_ablate.jobs.warm import client, server
from sign_ablate.store.run_files import CHECKPOINT, ENVIRONMENT, METRICS, RUN
from sign_ablate.train.loop import Trainer
from tests.conftest import ROOT, hang_up, pids
from tests.jobs.test_resume import RUNS, command, long

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")]


class Owner:
    """Stand-in for a Snakemake process, and the jobs that it owns."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        pid = str(self.process.pid)
        self.environment = {**os.environ, warm.VARIABLE: "1", parent.VARIABLE: pid, "PYTHONPATH": str(ROOT)}

    def run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        with hang_up(signal.SIG_DFL):
            return subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )

    def processes(self) -> list[int]:
        """Ids of all processes that it owns."""
        mark, found = f"{parent.VARIABLE}={self.process.pid}".encode(), []
        for pid in pids("."):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return found

    def servers(self, kind: str = warm.TRAINING) -> list[int]:
        return pids(f"sign_ablate.jobs.warm.server {self.process.pid} {kind}")


def wait_until(condition: "object", seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def owner() -> Iterator[Owner]:
    found = Owner()
    yield found
    found.process.kill()
    found.process.wait()
    wait_until(lambda: not found.servers())


#: an owner of its own, for a test that starts, stops or kills its server
boss = pytest.fixture(owner)
#: one owner and server for the tests that leave the server running
shared = pytest.fixture(owner, scope="module")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(RUNS["sgd"].config.data, path)
    return path


def test_forked_jobs_leave_the_same_files(shared: Owner, file: Path, tmp_path: Path) -> None:
    for label in ("sgd", "hybrid"):
        run = RUNS[label]
        done = shared.run(command(run, file, tmp_path / label))
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3  # its own log
        training.train(run.spec, file, tmp_path / f"{label}-here", device="cpu")
        for name in (METRICS, RUN):
            here = tmp_path / f"{label}-here" / name
            assert (tmp_path / label / name).read_bytes() == here.read_bytes()
    assert len(shared.servers()) == 1  # one for both


def test_server_that_imports_already_is_waited_for(boss: Owner, file: Path, tmp_path: Path) -> None:
    """The Snakefile starts the server before the first job."""
    client.start(boss.process.pid)
    wait_until(boss.servers)
    (server,) = boss.servers()
    assert boss.run(command(RUNS["sgd"], file, tmp_path / "out")).returncode == 0
    assert boss.servers() == [server]


def listening(boss: Owner) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(warm.address(boss.process.pid)) == 0


def test_other_commands_use_a_server_and_start_none(boss: Owner, tmp_path: Path) -> None:
    aggregate = [sys.executable, "-m", "sign_ablate", "aggregate", "--campaign", "{}", "--results", "none"]
    aggregate += ["--out", str(tmp_path)]
    alone = boss.run(aggregate)
    assert boss.servers() == []
    assert len(boss.servers(warm.NOTEBOOKS)) == 1  # for what comes after it
    client.start(boss.process.pid)
    wait_until(lambda: listening(boss))
    (pid,) = boss.servers()
    os.kill(pid, signal.SIGSTOP)
    forked = boss.start(aggregate)
    try:
        with pytest.raises(subprocess.TimeoutExpired):  # the stopped server would have to run it
            forked.wait(5)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (forked.communicate(timeout=60)[0], forked.returncode) == (alone.stderr, 1)
    assert alone.returncode == 1


def test_edit_while_the_server_imports_is_not_served(boss: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter([b"\0sign-ablate-before-the-edit", b"\0after"])
    monkeypatch.setattr(server, "address", lambda owner, kind: next(names))
    monkeypatch.setattr(server.Server, "serve", lambda self: pytest.fail("it serves"))
    monkeypatch.setattr(server.gc, "freeze", lambda: None)
    monkeypatch.setattr(sys, "argv", ["server", str(boss.process.pid), warm.TRAINING])
    server.main()


def test_errors_and_exit_status_are_the_jobs_own(shared: Owner, file: Path, tmp_path: Path) -> None:
    done = shared.run(command(RUNS["sgd"], tmp_path / "missing", tmp_path / "out"))
    assert done.returncode == 1
    assert "sign-ablate: error:" in done.stderr
    assert "missing" in done.stderr
    assert len(shared.servers()) == 1


#: requirements of torch.compile on a CPU
COMPILER = shutil.which("g++") and (Path(sysconfig.get_path("include")) / "Python.h").exists()


@pytest.mark.skipif(not COMPILER, reason="torch.compile needs g++ and Python's headers")
def test_compiled_run_in_a_fork(shared: Owner, file: Path, tmp_path: Path) -> None:
    """Compiled and eager runs agree to rounding and share checkpoints; the compiler leaves no process."""
    run = RUNS["sgd"]
    done = shared.run(command(run, file, tmp_path / "out", "--compile", "default"))
    assert done.returncode == 0, done.stderr
    compiled, eager = (
        [row["train_loss"] for row in metrics]
        for metrics in (
            pq.read_table(tmp_path / "out" / METRICS).to_pylist(),
            training.train(run.spec, file, tmp_path / "eager", device="cpu").metrics,
        )
    )
    assert compiled == pytest.approx(eager, rel=1e-3)
    assert compiled != eager
    names = [json.loads((tmp_path / name / ENVIRONMENT).read_text())["compile"] for name in ("out", "eager")]
    assert names == ["default", "none"]
    data, cpu = read(file), torch.device("cpu")
    states = [Trainer(run.config, data, cpu, mode).state_dict()["network"] for mode in ("default", "none")]
    assert list(states[0]) == list(states[1])
    wait_until(lambda: shared.processes() == shared.servers(), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_reaches_the_run(number: signal.Signals, shared: Owner, file: Path, tmp_path: Path) -> None:
    process = shared.start(command(long(), file, tmp_path / "out", "--checkpoint-seconds", "0.05"))
    wait_until((tmp_path / "out" / CHECKPOINT).exists)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number
    assert "a checkpoint is kept" in output


def test_killed_client_takes_its_child_along(shared: Owner, file: Path, tmp_path: Path) -> None:
    process = shared.start(command(long(10_000), file, tmp_path / "out"))
    wait_until(lambda: is_running(tmp_path / "out"))
    process.kill()
    wait_until(lambda: not is_running(tmp_path / "out"), 10)
    assert not (tmp_path / "out" / METRICS).exists()


def test_killed_server_loses_nothing(boss: Owner, file: Path, tmp_path: Path) -> None:
    run = long()
    training.train(run.spec, file, tmp_path / "undisturbed", device="cpu")
    process = boss.start(command(run, file, tmp_path / "out", "--checkpoint-seconds", "0.05"))
    wait_until((tmp_path / "out" / CHECKPOINT).exists)
    for pid in boss.servers():
        os.kill(pid, signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "the warm process has ended; this job now runs on its own" in output
    assert "goes on from step" in output
    assert (tmp_path / "out" / METRICS).read_bytes() == (tmp_path / "undisturbed" / METRICS).read_bytes()


def test_signal_is_heard_though_the_server_is_gone(boss: Owner, file: Path, tmp_path: Path) -> None:
    process = boss.start(command(long(10_000), file, tmp_path / "out"))
    wait_until(lambda: is_running(tmp_path / "out"))
    process.send_signal(signal.SIGSTOP)
    for pid in boss.servers():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(tmp_path / "out"))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_garbled_request_ends_no_server(shared: Owner, file: Path, tmp_path: Path) -> None:
    assert shared.run(command(RUNS["sgd"], file, tmp_path / "before")).returncode == 0
    (server,) = shared.servers()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(warm.address(shared.process.pid))
        connection.sendall(b"\0\0\0\4junk")
        assert connection.recv(4) == b""
    assert shared.run(command(RUNS["sgd"], file, tmp_path / "after")).returncode == 0
    assert shared.servers() == [server]


def test_child_of_a_server_that_is_gone_stops() -> None:
    code = "import os; from sign_ablate.jobs.warm.server import Server; "
    code += "Server(os.getpid(), b'')._run({}, [], server=-1)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM


def test_kernel_without_pidfd_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.3, and some sandboxes: jobs run in processes of their own, and find their owner."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setenv(warm.VARIABLE, "1")
    monkeypatch.setenv(parent.VARIABLE, str(os.getpid()))
    parent.has_pidfd.cache_clear()
    try:
        assert parent.is_alive(os.getpid())
        assert not parent.is_alive(2**22 + 1)  # above the largest process id
        assert client.run(["--help"], start_server=True) is None
    finally:
        parent.has_pidfd.cache_clear()


def test_signal_for_a_child_that_has_just_ended() -> None:
    ended = server.Server.__new__(server.Server)
    ended.children = {}
    with socket.socket(socket.AF_UNIX) as connection:
        ended._hear(connection)  # a KeyError would end the server, and stop all other children


def test_owner_that_nobody_waited_for_is_gone() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert parent.is_alive(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    wait_until(lambda: not parent.is_alive(process.pid))
    process.wait()
    assert not parent.is_alive(process.pid)


@pytest.mark.parametrize("forked", ["1", "0"])
def test_nothing_outlives_its_snakemake(forked: str, boss: Owner, file: Path, tmp_path: Path) -> None:
    boss.environment[warm.VARIABLE] = forked
    process = boss.start(command(long(10_000), file, tmp_path / "out", "--checkpoint-seconds", "0.5"))
    wait_until((tmp_path / "out" / CHECKPOINT).exists)
    boss.process.kill()
    boss.process.wait()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not is_running(tmp_path / "out"), 10)
    wait_until(lambda: not boss.servers(), 10)
    assert (tmp_path / "out" / CHECKPOINT).exists()


def test_edit_never_runs_old_code(boss: Owner, file: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sign_ablate", tmp_path / "sign_ablate")
    boss.environment["PYTHONPATH"] = str(tmp_path)

    def output(name: str) -> str:
        line = command(RUNS["sgd"], file, tmp_path / name)
        return subprocess.run(
            line, env=boss.environment, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "edited" not in output("before")
    module = tmp_path / "sign_ablate" / "jobs" / "training.py"
    module.write_text(
        module.read_text().replace("    run = parse_run(spec)", "    run = parse_run(spec); print('edited')")
    )
    assert "edited" in output("after")


def test_edit_of_the_step_in_c_is_another_state_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "sign_ablate", tmp_path / "sign_ablate")
    monkeypatch.setattr(warm, "__file__", str(tmp_path / "sign_ablate/jobs/warm/__init__.py"))
    before = warm.address(1)
    assert warm.address(1) == before
    (tmp_path / "sign_ablate/optim/sign_step/step.c").touch()
    assert warm.address(1) != before


def test_another_snakemake_has_another_server() -> None:
    assert warm.address(1) != warm.address(2)
    assert sys.executable  # part of the address as well
