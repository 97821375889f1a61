"""Files of a training job: the deterministic ones, the others, and those left by an interruption."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import read
from sign_ablate.jobs import checkpoint, training
from sign_ablate.jobs.run_lock import JobError, is_running, locked
from sign_ablate.store import fingerprint, reading
from sign_ablate.store.run_files import (
    CHECKPOINT,
    ENVIRONMENT,
    METRICS,
    METRICS_SCHEMA,
    PREDICTIONS,
    RUN,
    TIMING,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny: dict[str, Any]) -> Run:
    return expand(parse_campaign(tiny))[0]


@pytest.fixture
def data(run: Run, tmp_path: Path) -> Path:
    prepare(run.config.data, tmp_path / "data")
    return tmp_path / "data"


def test_metrics_are_byte_for_byte_the_same_in_any_process(run: Run, data: Path, tmp_path: Path) -> None:
    training.train(run.spec, data, tmp_path / "here", device="cpu")
    command = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec, "--data", str(data)]
    subprocess.run([*command, "--out", str(tmp_path / "there")], check=True)
    for name in (METRICS, RUN, PREDICTIONS):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_files_of_a_run(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    training.train(run.spec, data, out, device="cpu", threads=1)
    table = pq.read_table(out / METRICS)
    assert table.schema.names == METRICS_SCHEMA.names
    assert table.schema.field("sigma").metadata == METRICS_SCHEMA.field("sigma").metadata
    assert table.schema.metadata[b"status"] == b"finished"
    assert table.schema.metadata[b"spec"].decode() == run.spec
    described = json.loads((out / RUN).read_text())
    assert described["status"] == "finished"
    assert described["resolved"]["method"]["momentum"] == 0.9  # a default, which the spec omits
    assert pq.read_table(out / TIMING)["epoch"].to_pylist() == [1, 2, 3]
    environment = json.loads((out / ENVIRONMENT).read_text())
    assert environment["device"] == "cpu"
    assert environment["code"] == fingerprint.of_training()
    assert environment["versions"]["torch"]
    assert environment["seconds"] > 0
    assert 50 < environment["max_rss_mib"] < 50_000  # torch alone takes more than 50 MiB


def test_predictions_are_those_that_the_last_test_accuracy_counts(
    tiny: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    tiny |= {"methods": {"sgd": tiny["methods"]["sgd"]}, "figures": {}}
    tiny["train"]["epochs"] = 1  # some images are wrong after one epoch, and none after three
    run = expand(parse_campaign(tiny))[0]
    training.train(run.spec, data, tmp_path / "out", device="cpu")
    table = reading.predictions(tmp_path / "out")
    assert table is not None
    labels, correct = read(data).test_labels.numpy(), table["correct"].to_numpy()
    assert len(table) == len(labels) == 64
    assert ((table["predicted"].to_numpy() == labels) == correct).all()
    assert correct.mean() == reading.last(reading.metrics(tmp_path / "out"), "test_acc")
    assert 0 < correct.sum() < 64


def test_diverged_run_has_no_predictions_not_even_older_ones(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"methods": {"sgd": {"optimizer": "sgd", "lr": 1.0e30}}, "figures": {}}
    (run, _) = expand(parse_campaign(tiny))
    prepare(run.config.data, tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PREDICTIONS).write_bytes(b"of other code")
    training.train(run.spec, tmp_path / "data", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out" / PREDICTIONS).exists()
    assert reading.predictions(tmp_path / "out") is None
    assert reading.end(tmp_path / "out")[0] == "diverged"


@pytest.mark.parametrize("name", [ENVIRONMENT, TIMING, PREDICTIONS, RUN, METRICS])
def test_killed_while_the_files_are_written(
    name: str, run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last epoch no step is left, but its predictions must come again."""
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    training.train(run.spec, data, undisturbed, device="cpu")
    with monkeypatch.context() as patched:
        real = Path.write_bytes

        def die(path: Path, content: bytes) -> int:
            if path.name.startswith(name):
                raise KeyboardInterrupt
            return real(path, content)

        patched.setattr(Path, "write_bytes", die)
        with pytest.raises(KeyboardInterrupt):
            training.train(run.spec, data, out, device="cpu", checkpoint_seconds=0)
    assert not (out / METRICS).exists()
    training.train(run.spec, data, out, device="cpu")
    for same in (METRICS, RUN, PREDICTIONS):
        assert (out / same).read_bytes() == (undisturbed / same).read_bytes()


def test_compile_without_a_compiler_is_one_line(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = expand(parse_campaign(tiny))[0]
    prepare(run.config.data, tmp_path / "data")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match=r"execution.compile = 'default': .* compiler; install g\+\+"):
        training.train(run.spec, tmp_path / "data", tmp_path / "out", device="cpu", compile_mode="default")


def test_diverged_run_is_recorded_and_exits_0(call: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["methods"] = {"sgd": {"optimizer": "sgd", "lr": 1.0e30}}
    tiny["figures"] = {}
    run = expand(parse_campaign(tiny))[0]
    prepare(run.config.data, tmp_path / "data")
    command = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    done = call(command)
    assert done.returncode == 0
    assert "diverged: loss or gradient not finite at step" in done.stdout
    metadata = pq.read_metadata(tmp_path / "out" / METRICS).metadata
    assert metadata[b"status"] == b"diverged"
    assert int(metadata[b"diverged_at_step"]) > 0


def test_log_has_plain_lines_with_time_left(call: Any, run: Run, data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec]
    command += ["--data", str(data), "--out", str(tmp_path / "out")]
    lines = call(command).stdout.splitlines()
    assert len(lines) == 3
    assert "epoch 3/3" in lines[2]
    assert "images/s  0 s left" in lines[2]


def test_interrupted_job_leaves_no_metrics(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sign_ablate.jobs.training.Progress.epoch", die)
    with pytest.raises(KeyboardInterrupt):
        training.train(run.spec, data, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out" / METRICS).exists()
    assert not is_running(tmp_path / "out")


def test_second_trainer_of_a_run_waits_and_takes_its_result(run: Run, data: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    training.train(run.spec, data, other, device="cpu")
    command = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec, "--data", str(data)]
    with locked(out):
        assert is_running(out)
        second = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert (
            second.stdout.readline() == "out  another process is training this run; this job waits for it\n"
        )
        for name in (PREDICTIONS, RUN, METRICS):
            shutil.copy2(other / name, out / name)
        assert second.poll() is None
    assert second.communicate(timeout=60)[0] == "out  is done: another process has trained it\n"
    assert second.returncode == 0
    assert not is_running(out)


def test_second_trainer_trains_where_the_first_was_stopped(run: Run, data: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        pass
    assert training.train(run.spec, data, tmp_path / "out", device="cpu") is not None


def test_result_that_is_to_be_replaced_is_trained_again(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    training.train(run.spec, data, out, device="cpu")
    first = (out / METRICS).stat()
    assert training.train(run.spec, data, out, device="cpu") is None
    assert training.train(run.spec, data, out, device="cpu", replaces=first.st_mtime_ns - 1) is None
    assert (out / METRICS).stat() == first
    assert training.train(run.spec, data, out, device="cpu", replaces=first.st_mtime_ns) is not None
    assert (out / METRICS).stat().st_ino != first.st_ino
    (out / METRICS).write_bytes(b"damaged")
    assert training.train(run.spec, data, out, device="cpu") is not None


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--device", "cuda", "execution.device = 'cuda': this machine shows no CUDA device; set auto or cpu"),
        ("--data", "missing", "missing"),
        ("--spec", '{"numerics": 0}', "the spec is of version 0"),
    ],
)
def test_job_that_cannot_start_says_why_in_one_line(
    option: str, value: str, expected: str, call: Any, run: Run, data: Path, tmp_path: Path
) -> None:
    import torch

    if value == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    options = {"--spec": run.spec, "--data": str(data), "--out": str(tmp_path / "out"), option: value}
    command = [sys.executable, "-m", "sign_ablate", "train", *(x for pair in options.items() for x in pair)]
    done = call(command)
    assert done.returncode == 1
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_seconds_are_those_of_all_attempts(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(training, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training.train(run.spec, data, out, device="cpu", checkpoint_seconds=0)
    state = checkpoint.load(out / CHECKPOINT, run.spec, torch.device("cpu"))
    assert state is not None
    assert 0 < state["job_seconds"] < 100
    checkpoint.save(out / CHECKPOINT, run.spec, state | {"job_seconds": 1000.0})
    training.train(run.spec, data, out, device="cpu")
    assert 1000 < json.loads((out / ENVIRONMENT).read_text())["seconds"] < 1100
