"""File locks and their users: a data file is made once, and a campaign has one Snakemake at a time."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from sign_ablate.config import parse_campaign
from sign_ablate.jobs import campaign_lock
from sign_ablate.jobs.file_lock import is_locked, try_lock
from sign_ablate.jobs.preparation import prepare
from sign_ablate.jobs.run_lock import JobError

HOLD = """
import sys
from pathlib import Path
from sign_ablate.jobs.campaign_lock import hold
hold(Path(sys.argv[1]))
print(flush=True)
input()
"""


def test_lock_is_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()  # a check creates no file
    with try_lock(path) as held:
        assert held is not None
        assert is_locked(path)
        assert try_lock(path) is None
    assert not is_locked(path)
    assert try_lock(tmp_path / "no folder" / "lock") is None


def test_file_that_is_deleted_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `prune` deletes a run, the next process locks a new file of the same name."""
    path, flock = tmp_path / "lock", fcntl.flock

    def slow(file: IO[bytes], how: int) -> None:
        path.unlink(missing_ok=True)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    assert try_lock(path) is None
    monkeypatch.undo()
    assert try_lock(path) is not None


def test_data_file_that_is_there_stays(tiny: dict[str, Any], tmp_path: Path) -> None:
    spec, out = parse_campaign(tiny).datasets["synthetic"], tmp_path / "data.npz"
    prepare(spec, out)
    first = out.stat()
    prepare(spec, out)
    assert out.stat() == first
    prepare(spec, out, replaces=first.st_mtime_ns)
    assert out.stat().st_ino != first.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]  # no lock file


def test_campaign_has_one_snakemake(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    other.stdout.readline()
    assert campaign_lock.is_held(folder)
    with pytest.raises(
        JobError, match=f"another Snakemake is at work on this campaign .process {other.pid} on"
    ):
        campaign_lock.hold(folder)
    other.kill()
    other.communicate()
    assert not campaign_lock.is_held(folder)
    campaign_lock.hold(folder)
