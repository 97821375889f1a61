"""`sign-ablate status` on hand-made results whose numbers are known."""

import contextlib
import itertools
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.store import progress, run_files
from sign_ablate.store.layout import PROGRESS, choose_log
from sign_ablate.store.progress import Failure
from sign_ablate.terminal import states as people_runs
from sign_ablate.terminal.status import _fitted, duration
from sign_ablate.tuning.choice import choose, with_choices
from sign_ablate.tuning.search import runs_of_stage
from tests.terminal.conftest import NOW, Campaigner


def test_one_screen(made: Campaigner) -> None:
    """65 s of 70 are left of the run in progress, then three of 104 s: 377 s, one after the other."""
    made.finish("sgd.s0", ago=600, test_acc=0.9875)
    made.diverge("wild.s0", ago=7260, step=7)
    made.at_epoch("sgd.s1", epoch=3, ago=5)
    with made.running("sgd.s1", since=35):
        lines = made.status()
    assert lines == [
        "tiny  22:13:20   done  diverged  running  missing",
        "synthetic  sgd      1         ·        1        ·",
        "synthetic  wild     ·         1        ·        1",
        "synthetic  adam     ·         ·        ·        2",
        "6 runs              1         1        1        3",
        "",
        "in progress             epoch   test       left        show",
        f"synthetic  sgd  seed 1   3/10  3.00%  1 min 5 s  {made.hash('sgd.s1')}",
        "",
        "newest results                         test        ago        show",
        f"synthetic  sgd  seed 0               98.75%     10 min  {made.hash('sgd.s0')}",
        f"synthetic  wild  seed 0  diverged at step 7  2 h 1 min  {made.hash('wild.s0')}",
        "",
        "2 of 6 runs done (33%), 1 of them diverged.",
        "About 6 min 17 s left, 1 at a time: until Tue 22:19.",
    ]


@pytest.fixture
def tuning(config: dict[str, Any], tmp_path: Path) -> Campaigner:
    """A campaign before the choice for sgd, whose two trials diverged."""
    del config["methods"]["sgd"]["lr"]
    config["tuning"] = {"trials": 2, "val": 32, "spaces": {"sgd": {"lr": [1e25, 1e29]}}}
    tuning = Campaigner(config, tmp_path)
    tuning.runs = {f"trial-{run.trial}": run for run in runs_of_stage(tuning.campaign)}
    tuning.diverge("trial-0", ago=600, step=1)
    tuning.diverge("trial-1", ago=300, step=1)
    return tuning


def test_evaluation_waits_for_the_choice(tuning: Campaigner) -> None:
    last = tuning.status()[-2:]
    assert last[0] == "6 runs of the evaluation wait for `tuning`: no choice yet for sgd."
    assert last[1] == "All trials are done: snakemake tune makes the choice."


def test_choice_that_failed(tuning: Campaigner) -> None:
    log = choose_log(tuning.results, tuning.campaign.campaign)
    log.parent.mkdir(parents=True)
    log.write_text("sign-ablate: error: tuned.json: cannot be written\n")
    os.utime(log, (NOW - 200, NOW - 200))
    shown = [
        "failed  choice",
        "  tuned.json: cannot be written",
        f"  log: {log}",
        "All trials are done: snakemake tune makes the choice.",
    ]
    assert tuning.status()[-4:] == shown
    os.utime(log, (NOW - 400, NOW - 400))  # that of an earlier call
    assert tuning.status()[-2].startswith("6 runs of the evaluation wait")


def test_cells_that_are_left_out_of_the_evaluation(tuning: Campaigner) -> None:
    choose(tuning.campaign, tuning.results)
    tuning.campaign = with_choices(tuning.campaign, tuning.results)
    lines = tuning.status()
    assert "0 of 4 runs done (0%)." in lines
    assert lines[-1].startswith(
        "Left out of the evaluation: sgd on synthetic. No trial of sgd converged: search"
    )


def test_runs_in_the_queue_of_slurm(
    made: Campaigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue names a run of profiles/slurm in the comment, one of cluster-generic in the name of the job."""
    here = made.results.resolve().parent
    runs = {name: run.id for name, run in made.runs.items()}
    jobs = [
        f"{here}|rule_train_wildcards_{runs['sgd.s0']}|sign-ablate_0de00858",
        f"{here}|(null)|train.{runs['wild.s1']}",
        f"/elsewhere|(null)|train.{runs['adam.s1']}",
    ]
    program = tmp_path / "bin/squeue"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{job}'\n" for job in jobs))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert made.status()[:5] == [
        "tiny  22:13:20   done  diverged  queued  running  missing",
        "synthetic  sgd      ·         ·       1        ·        1",
        "synthetic  wild     ·         ·       1        ·        1",
        "synthetic  adam     ·         ·       ·        ·        2",
        "6 runs              0         0       2        0        4",
    ]
    program.write_text("#!/bin/sh\necho 'slurm_load_jobs error: no controller' >&2; exit 1\n")
    assert "queued" not in made.status()[0]


def test_runs_seen_side_by_side_go_on_so(made: Campaigner) -> None:
    """sgd.s0 ended when sgd.s1 was at work: adam.s0 0 to 104, wild.s1 65 to 169, adam.s1 104 to 208."""
    made.finish("sgd.s0", ago=20)
    made.diverge("wild.s0", ago=300, step=7)
    made.at_epoch("sgd.s1", epoch=3, ago=5)
    with made.running("sgd.s1", since=35):
        assert made.status()[-1] == "About 3 min 28 s left, 2 at a time: until Tue 22:16."


@pytest.mark.parametrize(("since", "left"), [(35, "8 min 21 s"), (39, "8 min 5 s")])
def test_time_between_runs_counts(since: float, left: str, made: Campaigner) -> None:
    """5 s or 1 s passed between sgd.s0 and sgd.s1: as many before each of the four that follow its 65 s."""
    made.finish("sgd.s0", ago=40)
    made.at_epoch("sgd.s1", epoch=3, ago=5)
    with made.running("sgd.s1", since=since):
        assert made.status()[-1].startswith(f"About {left} left, 1 at a time")


def test_where_none_is_at_work_the_cores_decide(config: dict[str, Any], tmp_path: Path) -> None:
    """Five of 104 s: 3 rounds of 2, and 2 rounds of 4."""
    for threads, expected in ((2, "About 5 min 12 s left, 2"), (1, "About 3 min 28 s left, 4")):
        config["execution"]["threads"] = threads
        made = Campaigner(config, tmp_path)
        made.finish("sgd.s0", ago=600)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.cpu_count", lambda: 4)
            *_, total, left, idle = made.status()
        assert total == "1 of 6 runs done (16%)."
        assert left.startswith(f"{expected} at a time: until")
        assert idle == "None is in progress."


def test_a_gpu_takes_one_at_a_time(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five runs of 104 s each; times measured on a CPU are not used."""
    config["execution"]["device"] = "cuda"
    made = Campaigner(config, tmp_path)
    made.finish("sgd.s0", ago=600)
    assert "Runs without an estimate: 5. None like them has been measured." in made.status()
    made.finish("sgd.s0", ago=599, kind="cuda:0")
    assert "About 8 min 40 s left, 1 at a time: until Tue 22:22." in made.status()
    config["execution"]["runs_per_gpu"] = 5
    assert "About 1 min 44 s left, 5 at a time: until Tue 22:15." in Campaigner(config, tmp_path).status()


@pytest.mark.parametrize(
    ("fields", "ago", "epoch", "left"),
    [
        (None, 0, "·", "1 min 4 s"),  # 104 s, 40 of them over
        ({"epoch": 0, "epochs": 0, "steps": 0}, 0, "·", "1 min 4 s"),  # it reads its data
        ({"epoch": 0}, 0, "0/10", "1 min 4 s"),
        ({"epoch": 5, "seconds_per_epoch": None}, 0, "5/10", "12 s"),  # from a checkpoint: 52 s less 40
        ({"epoch": 2}, 15, "2/10", "1 min 10 s"),  # 80 s were left: the third takes longer than 10
        ({"epoch": 7}, 4, "7/10", "26 s"),
        ({"epoch": 10}, 4, "10/10", "0 s"),
    ],
)
def test_progress_of_a_run(
    fields: dict[str, Any] | None, ago: float, epoch: str, left: str, made: Campaigner
) -> None:
    made.finish("sgd.s0", ago=600)
    if fields is not None:
        made.at_epoch("sgd.s1", ago=ago, **fields)
    with made.running("sgd.s1", since=40):
        line = next(line for line in made.status() if line.endswith(made.hash("sgd.s1")))
    accuracy = "·" if epoch in {"·", "0/10"} else f"{epoch.removesuffix('/10')}.00%"
    assert re.split("  +", line)[3:] == [epoch, accuracy, left, made.hash("sgd.s1")]


@pytest.mark.parametrize("content", ["", "{", '{"epoch": 3}'])
def test_progress_that_cannot_be_read(content: str, made: Campaigner) -> None:
    (made.folder("sgd.s1") / PROGRESS).write_text(content)
    with made.running("sgd.s1", since=40):
        assert any(line.split()[4:6] == ["·", "·"] for line in made.status() if made.hash("sgd.s1") in line)


def test_runs_that_stopped_say_why(made: Campaigner) -> None:
    """Failures are listed latest first, each with its cause, what happens next, and its log."""
    made.fail("sgd.s0", 0, ago=30, failure=Failure(kind="failed", cause="no data", final=True))
    made.fail("adam.s1", 4, ago=20, failure=Failure(kind="interrupted", cause="stopped by SIGINT"))
    (made.folder("adam.s1") / run_files.CHECKPOINT).touch()
    made.fail("wild.s0", 7, ago=10, failure=None)  # killed
    lines = made.status()
    assert lines[0].split()[2:] == ["done", "diverged", "failed", "interrupted", "running", "missing"]
    assert lines[4].split() == ["6", "runs", "0", "0", "2", "1", "0", "3"]
    folder, runs = made.results / "tiny", made.runs
    start = lines.index(f"failed  {runs['wild.s0'].id}")
    assert lines[start + 1 : start + 9] == [
        "  killed; out of memory? Run fewer jobs at a time (--cores) (after epoch 7 of 10)",
        f"  log: {folder}/logs/train/{runs['wild.s0'].id}.log",
        f"interrupted  {runs['adam.s1'].id}",
        "  stopped by SIGINT (after epoch 4 of 10); the next call goes on from its checkpoint",
        f"  log: {folder}/logs/train/{runs['adam.s1'].id}.log",
        f"failed  {runs['sgd.s0'].id}",
        "  no data (after epoch 0 of 10)",
        f"  log: {folder}/logs/train/{runs['sgd.s0'].id}.log",
    ]


def test_a_run_that_failed_and_is_tried_again_is_running(made: Campaigner) -> None:
    made.fail("sgd.s0", 3, ago=30, failure=Failure(kind="failed", cause="no data"))
    with made.running("sgd.s0", since=10):
        lines = made.status()
    assert "failed" not in "\n".join(lines)


def test_the_first_runs_estimate_the_others(made: Campaigner) -> None:
    """No run has finished: one at epoch 3 of 10 with 70 s left gives 100 s for each of the five others."""
    with made.running("sgd.s0", since=30):
        assert made.status()[-1] == "Runs without an estimate: 6. None like them has been measured."
        made.at_epoch("sgd.s0", epoch=3)
        assert made.status()[-1].startswith("About 9 min 30 s left, 1 at a time")


def test_the_last_epoch_of_the_last_run(made: Campaigner) -> None:
    for name in list(made.runs)[:-1]:
        made.finish(name, ago=600)
    made.at_epoch("adam.s1", epoch=10, ago=1)
    with made.running("adam.s1", since=101):
        assert made.status()[-1] == "About 0 s left, 1 at a time: until Tue 22:13."


def test_what_no_run_tells_of_is_said(config: dict[str, Any], tmp_path: Path) -> None:
    config["methods"]["adam"]["model"] = "resnet18"
    made = Campaigner(config, tmp_path)
    made.finish("sgd.s0", ago=600)
    assert made.status()[-3:] == [
        "At least 3 min 28 s left, 2 at a time: until Tue 22:16.",  # sgd.s1, wild.s0, wild.s1
        "Runs without an estimate: 2. None like them has been measured.",
        "None is in progress.",
    ]


def test_a_campaign_that_is_done(made: Campaigner) -> None:
    """The five newest of six, the newest first."""
    for n, name in enumerate(made.runs):
        made.finish(name, ago=100 * n + 100)
    lines = made.status()
    start = lines.index("") + 2
    assert [line.split()[-1] for line in lines[start:-2]] == [made.hash(name) for name in list(made.runs)[:5]]
    assert lines[-2:] == ["", "6 of 6 runs done (100%)."]


def test_many_runs_in_progress_leave_room(config: dict[str, Any], tmp_path: Path) -> None:
    config["seeds"] = [0, 1, 2]
    made = Campaigner(config, tmp_path)
    with contextlib.ExitStack() as stack:
        for name in made.runs:
            stack.enter_context(made.running(name, since=10))
        lines = made.status()
    assert sum(line.split()[-1:] == [made.hash(name)] for line in lines for name in made.runs) == 8
    assert "and 1 more" in lines


def test_a_run_that_ends_between_two_looks(made: Campaigner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run finished between the check of its metrics and the check of its lock."""

    def ends(folder: Path) -> bool:
        if folder == made.folder("sgd.s0"):
            made.finish("sgd.s0", ago=0)
        return False

    monkeypatch.setattr(people_runs, "is_running", ends)
    assert "1 of 6 runs done (16%)." in made.status()


@pytest.mark.slow
def test_files_that_come_and_go(made: Campaigner) -> None:
    """A run's files are made and deleted all the time, half of them written."""
    names, over = ["sgd.s0", "wild.s0", "adam.s0"], threading.Event()

    def change() -> None:
        for n in itertools.count():
            name = names[n % 3]
            made.finish(name, ago=n % 100)
            made.at_epoch(name, epoch=n % 10, ago=1)
            if n % 2:
                progress.remove(made.folder(name))
            else:
                shutil.rmtree(made.folder(name))
            if n % 7 == 0:
                (made.folder(name) / run_files.METRICS).write_bytes(b"PAR1 cut off")
            if over.is_set():
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        seen = {line for _ in range(100) for line in made.status() if "runs done" in line}
    finally:
        over.set()
        thread.join()
    assert len(seen) > 1  # or nothing changed under it


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (3600, "1 h"),
        (3659, "1 h"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h"), (8_640_000, "100 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_small_screen_keeps_the_heads_and_the_end() -> None:
    lines = [str(n) for n in range(10)]
    assert _fitted(lines, 10) == lines
    assert _fitted(lines, 5) == ["0", "⋮", "7", "8", "9"]
    assert _fitted(lines, 1)[-1] == "9"


def test_runs_of_other_code_are_counted(made: Campaigner) -> None:
    made.finish("adam.s0", ago=9)
    assert not any("different version" in line for line in made.status())
    made.finish("sgd.s0", ago=9, code="0123456789ab")
    (line,) = [line for line in made.status() if "different version" in line]
    assert line.startswith("1 run was made by a different version of the code.")
    assert line.endswith("snakemake --forcerun $(sign-ablate outdated)")
    made.finish("sgd.s1", ago=9)
    (made.folder("sgd.s1") / run_files.ENVIRONMENT).unlink()
    assert any(line.startswith("2 runs were made by a different version") for line in made.status())


def test_damaged_runs_have_a_column_and_a_line(made: Campaigner) -> None:
    for name in ("sgd.s0", "sgd.s1", "adam.s0"):
        made.finish(name, ago=600)
    for name, file in (("sgd.s1", run_files.METRICS), ("adam.s0", run_files.RUN)):
        path = made.folder(name) / file
        path.write_bytes(path.read_bytes()[:-5])
    lines = made.status()
    assert [line.split() for line in lines[:5]] == [
        ["tiny", "22:13:20", "done", "diverged", "damaged", "running", "missing"],
        ["synthetic", "sgd", "1", "·", "1", "·", "·"],
        ["synthetic", "wild", "·", "·", "·", "·", "2"],
        ["synthetic", "adam", "·", "·", "1", "·", "1"],
        ["6", "runs", "1", "0", "2", "0", "3"],
    ]
    assert lines[9].startswith(f"{made.folder('adam.s0')}/run.json: damaged (Invalid JSON: EOF while parsing")
    assert lines[10] == (
        f"{made.folder('sgd.s1')}/metrics.parquet: damaged (its SHA-256 is not the one in run.json); "
        "run snakemake again, which trains this run again"
    )
    assert lines[12] == "1 of 6 runs done (16%)."
    assert lines[13].startswith("About 5 min 12 s left, 2 at a time")  # five of 104 s


def test_a_damaged_run_that_is_trained_again_is_running(made: Campaigner) -> None:
    made.finish("sgd.s0", ago=600)
    (made.folder("sgd.s0") / run_files.METRICS).write_bytes(b"")
    with made.running("sgd.s0", since=10):
        lines = made.status()
    assert "damaged" not in "\n".join(lines)
    assert lines[4].split() == ["6", "runs", "0", "0", "1", "5"]


def test_many_damaged_runs_leave_room(config: dict[str, Any], tmp_path: Path) -> None:
    config["seeds"] = [0, 1, 2]
    made = Campaigner(config, tmp_path)
    for name in made.runs:
        made.finish(name, ago=600)
        (made.folder(name) / run_files.METRICS).write_bytes(b"")
    lines = made.status()
    assert sum("damaged (" in line for line in lines) == 5
    assert "and 4 more" in lines
