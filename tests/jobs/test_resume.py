"""An interrupted and resumed run gives the same bytes as an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.config.methods import OPTIMIZERS
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.jobs import checkpoint, training
from sign_ablate.store.run_files import CHECKPOINT, METRICS, PREDICTIONS, RUN
from sign_ablate.train.loop import Trainer
from tests.conftest import EVERY_METHOD, TINY, hang_up

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RUNS = {
    run.cell.label: run
    for run in expand(
        parse_campaign(
            {
                **TINY,
                "seeds": [0],
                "train": {**TINY["train"], "schedule": "cosine", "crop_padding": 1, "flip": True},
                "methods": EVERY_METHOD,
            }
        )
    )
}
STEPS = 9  # 3 epochs of 3; the hybrids switch at step 3


class Cut(Exception):  # noqa: N818
    pass


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(RUNS["sgd"].config.data, path)
    return path


@pytest.fixture(scope="module")
def data(file: Path) -> PreparedData:
    return read(file)


def test_every_registered_optimizer_is_resumed() -> None:
    assert {run.config.method.optimizer for run in RUNS.values()} == set(OPTIMIZERS)


@pytest.mark.parametrize("label", RUNS)
def test_interrupted_twice_at_every_pair_of_steps(label: str, data: PreparedData, tmp_path: Path) -> None:
    """Each interruption goes through a file: in the first epoch, at the switch, and after it."""
    run = RUNS[label]
    expected = Trainer(run.config, data, CPU).fit()
    for cuts in ((1, 2), (2, 3), (3, 4), (4, 8), (5, 6)):
        trainer = Trainer(run.config, data, CPU)
        for cut in cuts:

            def before_step(trainer: Trainer = trainer, cut: int = cut) -> None:
                if trainer.step == cut:
                    raise Cut

            with pytest.raises(Cut):
                trainer.fit(before_step=before_step)
            checkpoint.save(tmp_path / "c", run.spec, trainer.state_dict())
            state = checkpoint.load(tmp_path / "c", run.spec, CPU)
            assert state is not None
            trainer = Trainer(run.config, data, CPU)
            trainer.load_state_dict(state)
        result = trainer.fit()
        assert result.metrics == expected.metrics, cuts
        for name, values in (expected.predictions or {}).items():
            assert (result.predictions or {})[name].tolist() == values.tolist()


def command(run: Run, file: Path, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "sign_ablate", "train", "--spec", run.spec]
    return [*start, "--data", str(file), "--out", str(out), *more]


def long(epochs: int = 120) -> Run:
    methods = {"hybrid": {**TINY["methods"]["hybrid"], "t_switch": epochs // 2}}
    config = {**TINY, "seeds": [0], "train": {**TINY["train"], "epochs": epochs}, "methods": methods}
    return expand(parse_campaign({**config, "figures": {}}))[0]


@pytest.fixture(scope="module")
def undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `long()`, trained to its end in one go."""
    out = tmp_path_factory.mktemp("undisturbed")
    training.train(long().spec, file, out, device="cpu")
    return out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_killed_process_goes_on_to_the_same_bytes(
    number: signal.Signals, file: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = long(), tmp_path / "out"
    line = command(run, file, out, "--checkpoint-seconds", "0.05")
    with hang_up(signal.SIG_DFL):
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if (out / CHECKPOINT).exists():
            break
        time.sleep(0.05)
    os.kill(process.pid, number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"stopped by {number.name}; a checkpoint is kept" in output
    assert not (out / METRICS).exists()
    (out / f"{CHECKPOINT}.tmp").touch()
    training.train(run.spec, file, out, device="cpu")
    log = capsys.readouterr().out
    assert "goes on from step" in log
    assert ("the process that trained this run before was killed" in log) == (number == signal.SIGKILL)
    for name in (METRICS, RUN, PREDICTIONS):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not list(out.glob(f"{CHECKPOINT}*"))


def test_nohup_outlives_the_terminal(file: Path, tmp_path: Path) -> None:
    line = command(long(), file, tmp_path / "out", "--checkpoint-seconds", "0.05")
    with hang_up(signal.SIG_IGN):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    while not (tmp_path / "out" / CHECKPOINT).exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert (tmp_path / "out" / METRICS).exists()


def test_signal_after_the_last_step_loses_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = training.write_text

    def written(path: Path, text: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write_text(path, text)

    monkeypatch.setattr(training, "write_text", written)
    training.train(RUNS["sgd"].spec, file, tmp_path / "out", device="cpu")
    assert (tmp_path / "out" / METRICS).exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)


def flip_one_bit(path: Path) -> None:
    """Flip a bit of a parameter: the archive is readable, but the value has changed."""
    weight = torch.load(path)["state"]["network"]["11.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def of_another_layout(path: Path) -> None:
    torch.save({**torch.load(path), "version": checkpoint.VERSION + 1}, path)


def of_another_run(path: Path) -> None:
    torch.save({**torch.load(path), "spec": "another"}, path)


def of_other_code(path: Path) -> None:
    torch.save({**torch.load(path), "code": "0123456789ab"}, path)


def of_another_network(path: Path) -> None:
    stored = torch.load(path)
    stored["state"]["network"].popitem()
    torch.save(stored, path)


DAMAGE = [
    truncate,
    alter,
    flip_one_bit,
    Path.write_text,
    of_another_layout,
    of_another_run,
    of_other_code,
    of_another_network,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_unusable_checkpoint_is_set_aside_and_the_run_starts_over(
    damage: Any, data: PreparedData, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = RUNS["hybrid"], tmp_path / "out"
    out.mkdir()
    checkpoint.save(out / CHECKPOINT, run.spec, Trainer(run.config, data, CPU).state_dict())
    damage(out / CHECKPOINT, "no checkpoint") if damage is Path.write_text else damage(out / CHECKPOINT)
    result = training.train(run.spec, file, out, device="cpu")
    assert result.metrics == Trainer(run.config, data, CPU).fit().metrics
    assert "checkpoint set aside as" in capsys.readouterr().out
    assert (out / f"{CHECKPOINT}.unusable").exists()


def test_folder_that_cannot_be_written_is_one_line(call: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "out", Path("/dev/full")):
        done = call(command(RUNS["sgd"], file, folder))
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "sign-ablate: error: [Errno" in done.stderr
