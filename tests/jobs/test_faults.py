"""A full disk, a read-only folder, a vanished data file, no memory: a one-line error, and no partial results.

The failures are real: a full or read-only file system, where mounting is permitted, and a limit on the size
of files, which needs no permission.
"""

import contextlib
import errno
import math
import os
import re
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.identity import identity
from sign_ablate.cli import jobs as commands
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.jobs import attempt as attempts
from sign_ablate.jobs import checkpoint, training
from sign_ablate.store import progress
from sign_ablate.store.layout import PROGRESS
from sign_ablate.store.progress import Failure, Progress
from sign_ablate.store.run_files import CHECKPOINT, ENVIRONMENT, LOCK, METRICS, PREDICTIONS, RUN, TIMING
from sign_ablate.train.loop import Trainer
from tests.conftest import ROOT, TINY
from tests.jobs.test_resume import RUNS, command, long
from tests.jobs.test_warm import Owner, boss, wait_until  # noqa: F401 - boss is a fixture

CPU = torch.device("cpu")
HYBRID = RUNS["hybrid"]
STEP = 4  # of 9, one after the switch


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic.npz"
    prepare(HYBRID.config.data, path)
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    training.train(HYBRID.spec, file, out, device="cpu")
    return out


@pytest.fixture(scope="module")
def checkpointed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Checkpoint of an interrupted run."""

    def before_step() -> None:
        if trainer.step == STEP:
            raise InterruptedError

    trainer = Trainer(HYBRID.config, read(file), CPU)
    with contextlib.suppress(InterruptedError):
        trainer.fit(before_step=before_step)
    path = tmp_path_factory.mktemp("checkpoint") / CHECKPOINT
    checkpoint.save(path, HYBRID.spec, trainer.state_dict())
    return path.read_bytes()


class Disk:
    """Small file system, of which a chosen number of blocks is free."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def free(self) -> int:
        return os.statvfs(self.path).f_bavail

    def leave(self, blocks: int) -> None:
        filler = self.path / "filler"
        filler.unlink(missing_ok=True)
        filler.write_bytes(bytes((self.free() - blocks) * os.statvfs(self.path).f_bsize))
        assert self.free() == blocks

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=1m", "sign-ablate-test", str(path)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a file system of its own needs the permission to mount: {done.stderr.splitlines()[0]}")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def status(call: Callable[..., None], **options: Any) -> int:
    """Exit status of a command, as its process would return it."""
    try:
        call(**options)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def train(
    data: Path, out: Path, spec: str = HYBRID.spec, checkpoint_seconds: float = math.inf, attempt: int = 1
) -> int:
    return status(
        commands.train, spec=spec, data=data, out=out, device="cpu", deterministic=0, threads=1,
        compile_mode="none", checkpoint_seconds=checkpoint_seconds, attempt=attempt,
    )  # fmt: skip


def the_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sign-ablate: error: ")
    return line


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def check_same(out: Path, undisturbed: Path) -> None:
    for name in (METRICS, RUN, PREDICTIONS):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert names(out) == names(undisturbed)


def test_checkpoint_that_does_not_fit_leaves_the_one_before(checkpointed: bytes, tmp_path: Path) -> None:
    """Writes fail at many places, because torch's error depends on the place in its archive."""
    path = tmp_path / CHECKPOINT
    path.write_bytes(checkpointed)
    state = torch.load(path)["state"]
    for limit in range(0, len(checkpointed), 3000):
        with (
            limited(resource.RLIMIT_FSIZE, limit),
            pytest.raises(OSError, match=f"File too large: '{re.escape(str(path))}'"),
        ):
            checkpoint.save(path, HYBRID.spec, state)
        assert path.read_bytes() == checkpointed, limit
        assert names(tmp_path) == {CHECKPOINT}, limit


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "name"), [(100, ENVIRONMENT), (1500, TIMING), (3000, METRICS)])
def test_result_that_does_not_fit(
    limit: int, name: str, file: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with limited(resource.RLIMIT_FSIZE, limit):
        assert train(file, out) == 1
    line = the_line(capsys)
    assert f"File too large: '{out / name}'; raise the limit on a file's size" in line
    assert METRICS not in names(out)
    assert not list(out.glob("*.tmp"))
    assert train(file, out) == 0
    check_same(out, undisturbed)


def test_job_that_cannot_write_its_checkpoint_goes_on_from_the_one_before(
    file: Path, undisturbed: Path, checkpointed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / CHECKPOINT).write_bytes(checkpointed)
    with limited(resource.RLIMIT_FSIZE, 9000):
        assert train(file, out, checkpoint_seconds=0) == 1
    assert f"File too large: '{out / CHECKPOINT}'; raise the limit" in the_line(capsys)
    assert names(out) == {CHECKPOINT, LOCK, PROGRESS}
    assert (out / CHECKPOINT).read_bytes() == checkpointed
    assert train(file, out) == 0
    assert f"goes on from step {STEP} of 9" in capsys.readouterr().out
    check_same(out, undisturbed)


@pytest.mark.slow
def test_full_disk(disk: Disk, file: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk has room for no file, for the first file, for the first two files, and so on."""
    failed = []
    for blocks in range(12):
        out = disk.path / str(blocks)
        disk.leave(blocks)
        if train(file, out) == 0:
            break
        line = the_line(capsys)
        failed.append(re.search(rf"No space left on device: '{out}/(.*)'; make room there", line)[1])  # type: ignore[index]
        assert METRICS not in names(out)
        assert not list(out.glob("*.tmp"))
        disk.leave(100)
        assert train(file, out) == 0
        check_same(out, undisturbed)
    assert list(dict.fromkeys(failed)) == [ENVIRONMENT, TIMING, PREDICTIONS, RUN, METRICS]


def test_full_disk_leaves_the_checkpoint(
    disk: Disk, file: Path, undisturbed: Path, checkpointed: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk.path / "out"
    out.mkdir()
    (out / CHECKPOINT).write_bytes(checkpointed)
    for blocks in range(5):
        disk.leave(blocks)
        assert train(file, out, checkpoint_seconds=0) == 1
        assert f"No space left on device: '{out / CHECKPOINT}'; make room there" in the_line(capsys)
        assert (out / CHECKPOINT).read_bytes() == checkpointed
        (out / PROGRESS).unlink(missing_ok=True)
        assert disk.free() == blocks  # the temporary file is deleted
    disk.leave(100)
    assert train(file, out, checkpoint_seconds=0) == 0
    assert f"goes on from step {STEP} of 9" in capsys.readouterr().out
    check_same(out, undisturbed)


@pytest.mark.parametrize("limit", [0, 5000, 34_000])
def test_data_that_do_not_fit(
    limit: int, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data" / "synthetic.npz"
    with limited(resource.RLIMIT_FSIZE, limit):
        assert status(commands.prepare, spec=identity(HYBRID.config.data), out=out) == 1
    assert f"File too large: '{out}'; raise the limit" in the_line(capsys)
    assert names(out.parent) == set()
    assert status(commands.prepare, spec=identity(HYBRID.config.data), out=out) == 0
    assert out.read_bytes() == file.read_bytes()


def test_full_disk_has_no_half_of_the_data(
    disk: Disk, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk.path / "synthetic.npz"
    for blocks in (0, 1, 8):
        disk.leave(blocks)
        assert status(commands.prepare, spec=identity(HYBRID.config.data), out=out) == 1
        assert f"No space left on device: '{out}'; make room there" in the_line(capsys)
        assert disk.free() == blocks
        assert not out.exists()
    disk.leave(100)
    assert status(commands.prepare, spec=identity(HYBRID.config.data), out=out) == 0
    assert out.read_bytes() == file.read_bytes()


linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@pytest.mark.slow
@linux
def test_log_on_a_full_disk_costs_no_run(file: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as log:
        subprocess.run(command(HYBRID, file, out), stdout=log, stderr=log, check=True, env=buffered)
    check_same(out, undisturbed)


def check_cannot_be_written(
    folder: Path, file: Path, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in (
        lambda: train(file, folder / "out"),
        lambda: train(file, folder / "new"),
        lambda: status(commands.prepare, spec=identity(HYBRID.config.data), out=folder / "synthetic.npz"),
    ):
        assert call() == 1
        assert re.search(rf"{reason}: '{folder}/.*'; make it writable", the_line(capsys))


def test_read_only_file_system(
    disk: Disk, file: Path, undisturbed: Path, checkpointed: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = disk.path / "out"
    out.mkdir()
    (out / CHECKPOINT).write_bytes(checkpointed)
    disk.remount("ro")
    check_cannot_be_written(disk.path, file, "Read-only file system", capsys)
    assert names(out) == {CHECKPOINT}
    disk.remount("rw")
    assert train(file, out) == 0
    assert f"goes on from step {STEP} of 9" in capsys.readouterr().out
    check_same(out, undisturbed)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_folder_of_somebody_else(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    tmp_path.chmod(0o500)
    try:
        check_cannot_be_written(tmp_path, file, "Permission denied", capsys)
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == {"out"}


def test_error_that_stays_is_not_tried_again(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert train(tmp_path / "missing.npz", out) == 1
    line = the_line(capsys)
    assert train(file, out, attempt=2) == 1  # although it would succeed by now
    assert the_line(capsys) == line
    assert train(file, out) == 0  # another call of Snakemake's
    assert PROGRESS not in names(out)


def test_traceback_is_in_the_log_of_the_second_attempt_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a mistake\nin two lines")

    monkeypatch.setattr(Trainer, "_evaluate", fail)
    with pytest.raises(ValueError, match="a mistake"):
        train(file, tmp_path)
    recorded = progress.read(tmp_path)
    assert recorded is not None
    assert recorded.failure is not None
    assert (recorded.failure.kind, recorded.failure.cause) == ("failed", "ValueError: a mistake")
    assert train(file, tmp_path, attempt=2) == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):")
    assert "in fail" in text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: unspecified launch failure")])
def test_error_that_may_pass_is_tried_again(
    error: Exception, file: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch, contextlib.suppress(RuntimeError):
        patch.setattr(Trainer, "_evaluate", fail)
        train(file, tmp_path)
    recorded = progress.read(tmp_path)
    assert recorded is not None
    assert recorded.failure is not None
    assert train(file, tmp_path, attempt=2) == 0
    check_same(tmp_path, undisturbed)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(Path.unlink, "no such data file; run snakemake again"), (cut_off, "corrupt (.*); delete it and run")],
)
def test_data_that_were_there_a_moment_ago(
    happens: Callable[[Path], None], reason: str, file: Path, undisturbed: Path, checkpointed: bytes,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data, out = tmp_path / "synthetic.npz", tmp_path / "out"
    data.write_bytes(file.read_bytes())
    out.mkdir()
    (out / CHECKPOINT).write_bytes(checkpointed)
    happens(data)
    assert train(data, out) == 1
    assert re.search(f"{data}: {reason}", the_line(capsys))
    assert names(out) == {CHECKPOINT, LOCK, PROGRESS}
    data.write_bytes(file.read_bytes())
    assert train(data, out) == 0
    assert f"goes on from step {STEP} of 9" in capsys.readouterr().out
    check_same(out, undisturbed)


def test_data_that_must_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, tmp_path / "out") == 1
    assert f"{tmp_path}: cannot be read (Is a directory); make it readable" in the_line(capsys)


#: runs the command line with at most 32 MiB more memory than its imports take
SHORT_OF_MEMORY = """
import os, resource, sys
from sign_ablate.jobs import gpu
from sign_ablate import cli
from sign_ablate.jobs import training
import pandas, torch._dynamo
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, resource.RLIM_INFINITY))
cli.app()
"""


@pytest.mark.slow
@linux
def test_no_memory(tmp_path: Path) -> None:
    data = {"source": "synthetic", "train_images": 3000, "test_images": 64}
    config = {**TINY, "datasets": {"synthetic": data}, "methods": {"sgd": TINY["methods"]["sgd"]}}
    config |= {"figures": {}, "train": {"model": "small", "epochs": 1, "batch_size": 3000}}
    run = expand(parse_campaign(config))[0]
    prepare(run.config.data, tmp_path / "data")
    arguments = command(run, tmp_path / "data", tmp_path / "out")[3:]
    # In a process of its own: one that ran other tests holds free memory, to which the limit does not apply.
    line = [sys.executable, "-c", SHORT_OF_MEMORY, *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    # Other lines are from libraries: some warn on standard error where they get no memory.
    assert "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if "out of memory" in line]
    assert len(messages) == 1, done.stderr
    assert re.search(r"out of memory \(.*\)\. Run fewer jobs at a time \(--cores\)", messages[0])
    assert names(tmp_path / "out") == {LOCK, PROGRESS}


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        ImportError("lib.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
@pytest.mark.parametrize("place", ["torch.load", "sign_ablate.jobs.training.Trainer.load_state_dict"])
def test_checkpoint_is_good_where_memory_is_short(
    place: str, error: Exception, file: Path, checkpointed: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> None:
        raise error

    (tmp_path / CHECKPOINT).write_bytes(checkpointed)
    monkeypatch.setattr(place, fail)
    assert train(file, tmp_path) == 1
    assert "out of memory" in the_line(capsys)
    assert names(tmp_path) == {CHECKPOINT, LOCK, PROGRESS}


def trainer_of(out: Path) -> int:
    """Id of the process that holds a run's lock."""
    inode = (out / LOCK).stat().st_ino
    return int(re.search(rf"FLOCK .* (\d+) \w+:\w+:{inode} ", Path("/proc/locks").read_text())[1])  # type: ignore[index]


@pytest.mark.slow
@linux
def test_killed_for_its_memory_and_the_siblings_go_on(
    boss: Owner,  # noqa: F811
    file: Path,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    """The jobs share a warm process. test_resume has the kill without a warm process."""
    victim = boss.start(command(long(10_000), file, tmp_path / "victim", "--checkpoint-seconds", "0.05"))
    wait_until((tmp_path / "victim" / CHECKPOINT).exists)
    sibling = boss.start(command(HYBRID, file, tmp_path / "sibling"))
    os.kill(trainer_of(tmp_path / "victim"), signal.SIGKILL)
    output = victim.communicate(timeout=60)[0]
    assert victim.returncode == 128 + signal.SIGKILL
    assert "the job's process was ended by SIGKILL; out of memory? Run fewer jobs at a time" in output
    assert METRICS not in names(tmp_path / "victim")
    sibling.communicate(timeout=60)
    assert sibling.returncode == 0
    check_same(tmp_path / "sibling", undisturbed)
    assert len(boss.servers()) == 1


def test_checkpoint_that_cannot_be_read_for_now_is_kept(
    checkpointed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system fails for a moment: the second attempt reads it again."""
    path = tmp_path / CHECKPOINT
    path.write_bytes(checkpointed)

    def fail(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "testzip", fail)
        with pytest.raises(checkpoint.UnreadableError, match=r"cannot be read .*; it is kept$"):
            checkpoint.load(path, HYBRID.spec, torch.device("cpu"))
    assert names(tmp_path) == {CHECKPOINT}
    assert not checkpoint.UnreadableError("").final
    assert checkpoint.load(path, HYBRID.spec, torch.device("cpu")) is not None


def test_failure_of_an_earlier_call_does_not_refuse_the_second_attempt(tmp_path: Path) -> None:
    """The first attempt may be killed before it writes anything, such as while it waits for a GPU."""
    final = Failure(kind="failed", cause="no compiler", final=True)
    progress.write(tmp_path, Progress(started=1.0, updated=2.0, failure=final))
    assert attempts.repeated(tmp_path) == final
    attempts.forget(tmp_path)
    assert attempts.repeated(tmp_path) is None
    progress.write(tmp_path, running := Progress(started=1.0, updated=2.0))
    attempts.forget(tmp_path)
    assert progress.read(tmp_path) == running  # of another process
