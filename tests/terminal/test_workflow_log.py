"""Text that is shown for Snakemake's log records."""

import errno
import io
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from sign_ablate.store import progress
from sign_ablate.store.progress import Failure, Progress
from sign_ablate.terminal import workflow_log
from sign_ablate.terminal.workflow_log import Lines

RUN = "synthetic.sgd.s0.0123456789"
NAMED = "digits.sgd.s0.9876543210"


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Snakemake:
    """Its logger, with the handler that Snakemake attaches and ours in its place."""

    def __init__(self, screen: Screen, **settings: Any) -> None:
        self.screen, self.settings = screen, OutputSettings(**settings)
        self.logger = logging.Logger("snakemake", logging.INFO)
        former = logging.StreamHandler(screen)
        former.name = "DefaultStreamHandler"
        quiet = self.settings.quiet
        former.addFilter(DefaultFilter(quiet, False, False, self.settings.dryrun, False))  # type: ignore[arg-type]
        former.setFormatter(DefaultFormatter(quiet))
        self.former = former
        self.logger.addHandler(former)
        names = {NAMED: "digits  sgd  seed 0  9876543210"}
        workflow_log.install(self.logger, self.settings, names)

    @property
    def handler(self) -> logging.Handler:
        (handler,) = self.logger.handlers
        return handler

    def starts(self, jobid: int, rule: str, log: Path, output: list[str], **wildcards: str) -> None:
        fields = {
            "event": LogEvent.JOB_INFO, "jobid": jobid, "rule_name": rule, "rule_msg": None,
            "input": ["a"] * 90, "output": output,
            "log": [str(log)], "wildcards": wildcards, "reason": "x, " * 900,
            "local": True, "is_checkpoint": False,
            "benchmark": None, "priority": 0, "threads": 1, "resources": {},
            "printshellcmd": False, "shellcmd": "run it", "indent": False,
        }  # fmt: skip
        self.logger.info(f"rule {rule}:", extra=fields)

    def ends(self, jobid: int, done: int) -> None:
        fields = {"event": LogEvent.JOB_FINISHED, "job_id": jobid}
        self.logger.info(f"Finished jobid: {jobid}", extra=fields)
        self.logger.info(None, extra={"event": LogEvent.PROGRESS, "done": done, "total": 9})

    def fails(self, jobid: int, rule: str, log: Path, output: list[str]) -> None:
        command = 'RuleException:\nCalledProcessError in file "train.smk", line 9:\nCommand … exit status 1.'
        self.logger.error(command, extra={"event": LogEvent.ERROR, "exception": "RuleException"})
        fields = {
            "event": LogEvent.JOB_ERROR, "jobid": jobid, "rule_name": rule, "rule_msg": None, "input": [],
            "output": output, "log": [str(log)], "conda_env": None, "shellcmd": "run it", "aux": {},
        }  # fmt: skip
        self.logger.error(f"Error in rule {rule}", extra=fields)

    def shown(self) -> list[str]:
        return self.screen.getvalue().splitlines()


@pytest.fixture
def screen() -> Screen:
    return Screen(terminal=False)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / f"{RUN}.log"
    log.write_text("".join(f"epoch {n}\n" for n in range(129)) + "sign-ablate: error: no data\n")
    return log


def test_a_line_for_a_job_that_is_done(screen: Screen, log: Path) -> None:
    snakemake = Snakemake(screen)
    snakemake.logger.info("Select jobs to execute...")
    snakemake.starts(1, "figure", log, ["figures/figure1.png"], view="partial/", figure="figure1")
    snakemake.starts(2, "train", log, [f"no/{RUN}/metrics.parquet"], run=RUN)
    snakemake.ends(1, done=4)
    snakemake.starts(3, "train", log, [f"no/{NAMED}/metrics.parquet"], run=NAMED)
    snakemake.ends(2, done=5)
    snakemake.ends(3, done=6)
    assert snakemake.shown() == [
        "4 of 9  figure partial figure1",
        f"5 of 9  {RUN}",
        "6 of 9  digits  sgd  seed 0  9876543210",
    ]


def test_a_block_for_a_job_that_fails(screen: Screen, log: Path) -> None:
    snakemake = Snakemake(screen)
    snakemake.starts(2, "train", log, [f"no/{RUN}/metrics.parquet"], run=RUN)
    snakemake.fails(2, "train", log, [f"no/{RUN}/metrics.parquet"])
    snakemake.logger.info("Trying to restart job 2.")
    snakemake.fails(2, "train", log, [f"no/{RUN}/metrics.parquet"])
    block = [f"failed  {RUN}", "  no data", f"  log: {log}"]
    assert snakemake.shown() == [*block, f"{RUN} is tried once more"]  # the same end is not told twice


@pytest.mark.parametrize(
    "last", ["notebooks/table1.ipynb: cell 3: KeyboardInterrupt: ; outputs so far: x.ipynb", "Aborted."]
)
def test_a_job_of_tables_that_was_interrupted_did_not_fail(last: str, screen: Screen, log: Path) -> None:
    log.write_text(f"{last}\n")
    snakemake = Snakemake(screen)
    snakemake.fails(1, "table", log, ["table1.md"])
    cause = "  stopped by Ctrl-C; the next call makes it again"
    assert snakemake.shown() == ["interrupted  job 1", cause, f"  log: {log}"]


@pytest.mark.parametrize(
    ("content", "cause"), [("", "its log is empty: the job was"), (None, "its log is empty")]
)
def test_a_job_that_left_no_line(content: str | None, cause: str, screen: Screen, log: Path) -> None:
    log.unlink() if content is None else log.write_text(content)
    snakemake = Snakemake(screen)
    snakemake.fails(3, "aggregate", log, ["summary.parquet"])
    assert snakemake.shown()[1].strip().startswith(cause)


def test_a_full_disk_is_told(screen: Screen, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 3, 4096

    log.write_text("")
    monkeypatch.setattr("os.statvfs", lambda path: Full)
    snakemake = Snakemake(screen)
    snakemake.fails(3, "aggregate", log, ["summary.parquet"])
    assert (
        "no room is left on the disk of results/; make room, then run the same command again"
        in snakemake.shown()[1]
    )


def test_a_run_tells_its_failure_in_its_folder(screen: Screen, log: Path, tmp_path: Path) -> None:
    """A final failure is not retried. A failure of an earlier attempt is not shown."""
    output = [str(tmp_path / "metrics.parquet")]
    snakemake = Snakemake(screen)
    for cause, age in (("no images", 0), ("yesterday's", 86400)):
        failure = Failure(kind="failed", cause=cause, final=True)
        progress.write(tmp_path, Progress(started=0, updated=time.time() - age, failure=failure))
        snakemake.starts(2, "train", log, output, run=RUN)
        snakemake.fails(2, "train", log, output)
        if not age:
            snakemake.logger.info("Trying to restart job 2.")
    ends = [f"failed  {RUN}", "  no images", f"  log: {log}", f"failed  {RUN}", "  no data", f"  log: {log}"]
    assert snakemake.shown() == ends


@pytest.mark.parametrize(
    ("quiet", "lines"),
    [({Quietness.RULES}, 4), ({Quietness.RULES, Quietness.PROGRESS}, 3), ({Quietness.ALL}, 0)],
)
def test_quiet_is_about_what_goes_well(
    quiet: set[Quietness], lines: int, screen: Screen, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen.terminal = True  # where there would be bars
    monkeypatch.setenv("TERM", "xterm")
    snakemake = Snakemake(screen, quiet=quiet)
    snakemake.starts(1, "figure", log, ["figures/figure1.png"], view="", figure="figure1")
    snakemake.ends(1, done=4)
    snakemake.fails(2, "train", log, [f"no/{RUN}/metrics.parquet"])
    assert len(snakemake.shown()) == lines
    assert ("4 of 9  figure figure1" in snakemake.shown()) == (lines == 4)


def test_a_dry_run_says_what_would_run_in_short(screen: Screen, log: Path) -> None:
    snakemake = Snakemake(screen, dryrun=True)
    snakemake.starts(1, "figure", log, ["figures/figure1.png"], view="", figure="figure1")
    text = screen.getvalue()
    assert "    input: a, a, a, and 87 more\n" in text
    assert "    output: figures/figure1.png\n" in text
    assert len(text) < 700


@pytest.mark.parametrize(
    "option", [{"verbose": True}, {"printshellcmds": True}, {"log_handler_settings": {"x": None}}]
)
def test_what_a_user_asks_for_stays(option: dict[str, Any], screen: Screen) -> None:
    snakemake = Snakemake(screen, **option)
    assert snakemake.handler is snakemake.former


@pytest.fixture
def terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen.terminal = True
    for name, value in {"TERM": "xterm", "COLUMNS": "110", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    return screen


def test_a_terminal_has_bars(terminal: Screen, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("snakemake_logger_plugin_rich")
    monkeypatch.setattr(sys, "stderr", terminal)
    snakemake = Snakemake(terminal)
    stats = {"figure": 1, "train": 1, "total": 2}
    snakemake.logger.info("Job stats", extra={"event": LogEvent.RUN_INFO, "stats": stats})
    snakemake.starts(1, "figure", log, ["figures/figure1.png"], view="", figure="figure1")
    snakemake.ends(1, done=1)
    snakemake.starts(2, "train", log, [f"no/{RUN}/metrics.parquet"], run=RUN)
    snakemake.fails(2, "train", log, [f"no/{RUN}/metrics.parquet"])
    snakemake.handler.close()
    text = terminal.getvalue()
    assert "━━━" in text
    assert "1 of 9  figure figure1" in text
    assert f"failed  {RUN}" in text
    assert "  no data" in text
    assert "epoch 12" not in text  # not the whole log
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize("bars", [False, True])
def test_a_terminal_that_was_closed_ends_nothing(
    bars: bool, terminal: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are told to write their checkpoints by a thread that says so first."""

    def closed(_: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    if not bars:
        monkeypatch.setitem(sys.modules, "snakemake_logger_plugin_rich", None)
    snakemake = Snakemake(terminal)
    monkeypatch.setattr(terminal, "write", closed)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        snakemake.logger.warning("Stopping training jobs, which write their checkpoints")


def test_a_terminal_without_the_plugin_has_lines(terminal: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake_logger_plugin_rich", None)  # its import fails
    assert type(Snakemake(terminal).handler) is Lines
    monkeypatch.undo()


def test_a_dumb_terminal_has_lines(terminal: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(Snakemake(terminal).handler) is Lines
