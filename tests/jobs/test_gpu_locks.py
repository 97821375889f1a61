"""GPU claims, with device lists that need no GPU: one process per device, and claims end with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sign_ablate.jobs import gpu
from sign_ablate.jobs.run_lock import JobError
from tests.conftest import ROOT

#: claims a device, prints CUDA_VISIBLE_DEVICES, and runs until its input ends
JOB = """
import os, sys
from sign_ablate.jobs.gpu import claim
device, runs_per_gpu, count = sys.argv[1:]
print(claim(device, int(runs_per_gpu), int(count)), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Job:
    def __init__(self, device: str, runs_per_gpu: int, count: int, environment: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, device, str(runs_per_gpu), str(count)],
            env=environment,
            stdin=pipe,
            stdout=pipe,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> "object":
    jobs: list[Job] = []

    def start(device: str = "cuda", runs_per_gpu: int = 1, count: int = 1, **variables: str) -> Job:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "CUDA", "SIGN_ABLATE"))}
        environment = {**kept, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), **variables}
        jobs.append(Job(device, runs_per_gpu, count, environment))
        return jobs[-1]

    yield start
    for job in jobs:
        job.end()


def test_jobs_have_devices_of_their_own_and_one_too_many_waits(start: Start) -> None:
    visible = "3,GPU-8f6a,MIG-1/2/0"
    jobs = [start(CUDA_VISIBLE_DEVICES=visible) for _ in range(3)]
    lines = {job.line(): job for job in jobs}
    assert set(lines) == {"cuda 3", "cuda GPU-8f6a", "cuda MIG-1/2/0"}
    late = start(CUDA_VISIBLE_DEVICES=visible)
    assert late.line() == "waiting for a GPU: 3, GPU-8f6a, MIG-1/2/0 taken by this user's other jobs"
    lines["cuda GPU-8f6a"].end(signal.SIGKILL)
    assert late.line() == "cuda GPU-8f6a"


def test_ranks_of_a_job_have_a_device_each_or_none(start: Start) -> None:
    visible = "3,GPU-8f6a,1"
    first = start(count=2, CUDA_VISIBLE_DEVICES=visible)
    assert first.line() == "cuda 3,GPU-8f6a"
    second = start(count=2, CUDA_VISIBLE_DEVICES=visible)
    assert second.line().startswith("waiting for a GPU")
    assert start(CUDA_VISIBLE_DEVICES=visible).line() == "cuda 1"  # which the second does not hold
    first.end()
    assert second.line() == "cuda 3,GPU-8f6a"


def test_more_ranks_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(JobError, match=r"^execution.max_ranks: this run has 4 workers .* shows 2 \(0, 1\);"):
        gpu.claim("cuda", count=4)


def test_slots_are_filled_device_by_device_and_end_with_their_jobs(start: Start) -> None:
    jobs = [start(runs_per_gpu=2, CUDA_VISIBLE_DEVICES="0,1") for _ in range(1)]
    lines = [jobs[0].line()]
    for _ in range(3):
        jobs.append(start(runs_per_gpu=2, CUDA_VISIBLE_DEVICES="0,1"))
        lines.append(jobs[-1].line())
    assert lines == ["cuda 0", "cuda 1", "cuda 0", "cuda 1"]
    late = start(runs_per_gpu=2, CUDA_VISIBLE_DEVICES="0,1")
    assert late.line().startswith("waiting for a GPU: 0, 1 taken")
    jobs[3].end()
    assert late.line() == "cuda 1"


def test_a_run_that_wants_a_gpu_to_itself_and_runs_that_share_exclude_each_other(start: Start) -> None:
    """As two campaigns would, with different values of runs_per_gpu."""
    shared = [start(runs_per_gpu=3, CUDA_VISIBLE_DEVICES="0") for _ in range(2)]
    assert [job.line() for job in shared] == ["cuda 0", "cuda 0"]
    alone = start(CUDA_VISIBLE_DEVICES="0")
    assert alone.line() == "waiting for a GPU: 0 taken by this user's other jobs"
    for job in shared:
        job.end()
    assert alone.line() == "cuda 0"
    third = start(runs_per_gpu=3, CUDA_VISIBLE_DEVICES="0")
    assert third.line().startswith("waiting")
    alone.end()
    assert third.line() == "cuda 0"


def test_overlapping_lists_share_no_device(start: Start) -> None:
    assert start(CUDA_VISIBLE_DEVICES="1").line() == "cuda 1"
    assert start(CUDA_VISIBLE_DEVICES="1,2").line() == "cuda 2"


def test_fallback_takes_the_cpu_at_once(start: Start) -> None:
    assert start("auto", CUDA_VISIBLE_DEVICES="0").line() == "cuda 0"
    second = start("auto", CUDA_VISIBLE_DEVICES="0")
    assert second.line() == "no GPU is free (0): this run uses the CPU (cpu_fallback)"
    assert second.line() == "cpu 0"
    assert start("auto", CUDA_VISIBLE_DEVICES="").line() == "cpu"
    assert start("cpu", CUDA_VISIBLE_DEVICES="0").line() == "cpu 0"


def test_slurm_jobs_number_their_devices_from_0(start: Start) -> None:
    """Device 0 of two SLURM jobs are two devices. Several jobs in one SLURM job share its devices."""
    first = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert [start(**first).line(), start(**first).line()] == ["cuda 0", "cuda 1"]
    assert start(SLURM_JOB_ID="8", CUDA_VISIBLE_DEVICES="0,1").line() == "cuda 0"
    only = {"SLURM_JOB_ID": "9", "CUDA_VISIBLE_DEVICES": "0"}
    assert [start(**only).line(), start(**only).line()] == ["cuda 0", "cuda 0"]  # assigned by SLURM: no lock


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give this process a lock folder and claims of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpu, "_held", [])
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv(gpu.VISIBLE, "0")
    return monkeypatch


def test_waiting_ends_with_an_error(start: Start, here: pytest.MonkeyPatch) -> None:
    assert start(CUDA_VISIBLE_DEVICES="0").line() == "cuda 0"
    here.setattr(gpu, "WAIT_SECONDS", 0.5)
    with pytest.raises(JobError, match=r"no GPU was free for 0 s \(CUDA devices 0\); run fewer jobs"):
        gpu.claim("cuda")


def test_waiting_ends_with_its_snakemake(start: Start, here: pytest.MonkeyPatch) -> None:
    assert start(CUDA_VISIBLE_DEVICES="0").line() == "cuda 0"
    gone = subprocess.Popen(["true"])
    gone.wait()
    here.setenv("SIGN_ABLATE_OWNER", str(gone.pid))
    with pytest.raises(JobError, match="Snakemake has ended"):
        gpu.claim("cuda")


def test_second_claim_of_a_process_is_its_first(here: pytest.MonkeyPatch) -> None:
    here.setenv(gpu.VISIBLE, "4,5")
    assert [gpu.claim("cuda"), gpu.claim("cuda")] == ["cuda", "cuda"]
    assert os.environ[gpu.VISIBLE] == "4"
    assert len(gpu._held) == 1


@pytest.mark.parametrize(
    ("preset", "expected"), [("2, 0", ["2", "0"]), ("1,1", ["1"]), ("0,-1,2", ["0"]), ("", [])]
)
def test_candidates_are_what_cuda_would_take(
    preset: str, expected: list[str], here: pytest.MonkeyPatch
) -> None:
    here.setenv(gpu.VISIBLE, preset)
    assert gpu.candidates() == expected


def test_without_the_variable_devices_are_counted_elsewhere(here: pytest.MonkeyPatch) -> None:
    here.delenv(gpu.VISIBLE)
    here.setattr("subprocess.check_output", lambda command, text: "3\n")
    assert gpu.candidates() == ["0", "1", "2"]
    here.undo()
    assert int(subprocess.check_output([sys.executable, "-m", "sign_ablate.jobs.device"], text=True)) >= 0


def test_lock_folder_of_somebody_else_is_refused(tmp_path: Path, here: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"sign-ablate-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JobError, match="belongs to somebody else"):
        gpu.claim("cuda")
