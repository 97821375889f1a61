"""Snakemake's log on the terminal: a line per finished job, a block per failed job, and progress bars.

Snakemake's own log names every input of every job and prints whole log files. Only its stream handler is
replaced: the log file below `.snakemake/log` stays complete. With `--verbose`, `--printshellcmds` or
`--logger`, nothing is replaced.
"""

import contextlib
import copy
import logging
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TextIO

from snakemake.logging import DefaultFormatter, get_event, show_logs
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from sign_ablate.terminal import failures

#: beginnings of Snakemake's messages that are not shown
_NOISE = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Conda environments: ignored",
    "Execute ",
    "Exiting because a job execution failed",
    "Provided cores",
    "Provided resources",
    "Removing output files of failed job",
    "Rules claiming more threads",
    "Select jobs to execute",
    "Using shell",
    "host:",
)
_RESTART = re.compile(r"Trying to restart job (\d+)")
#: maximum numbers of files in a list and of characters in a reason, which also lists files
_FILES_SHOWN, _REASON_SHOWN = 3, 300


def install(logger: logging.Logger, settings: Any, names: Mapping[str, str] = MappingProxyType({})) -> None:
    """Replace the stream handler of Snakemake's logger by `Lines`, or by progress bars.

    Bars need a terminal and snakemake-logger-plugin-rich. `--logger rich` in a profile is no alternative: it
    fails where the plugin is not installed, and it ignores `--quiet`.

    Args:
        logger: Snakemake's logger.
        settings: Snakemake's `OutputSettings`.
        names: run id → name to show, with the campaign's labels.
    """
    former: Any = next((h for h in logger.handlers if h.name == "DefaultStreamHandler"), None)
    if former is None or settings.log_handler_settings or settings.verbose or settings.printshellcmds:
        return
    if settings.dryrun:
        former.setFormatter(ShortLists(settings.quiet))
        return
    handler: logging.Handler | None = None
    if not settings.quiet and former.stream.isatty() and os.environ.get("TERM") != "dumb":
        handler = _bars(settings, names)
    handler = handler or Lines(former.stream, settings, names)
    handler.filters = former.filters
    logger.removeHandler(former)
    logger.addHandler(handler)


class ShortLists(DefaultFormatter):
    """Snakemake's own format with shortened lists of files, for dry runs."""

    def format_job_info(self, msg: dict[str, Any]) -> str:
        """Format the announcement of a job."""
        files, reason = list(msg["input"] or []), str(msg["reason"])
        if len(files) > _FILES_SHOWN + 1:
            files = [*files[:_FILES_SHOWN], f"and {len(files) - _FILES_SHOWN} more"]
        if len(reason) > _REASON_SHOWN:
            reason = f"{reason[:_REASON_SHOWN]}…"
        text: str = super().format_job_info({**msg, "input": files, "reason": reason})
        return text


class Digest:
    """Converts Snakemake's log records to the text to show, which may be empty."""

    def __init__(self, show_failed_logs: bool, names: Mapping[str, str]) -> None:
        self._show_failed_logs, self._names = show_failed_logs, names
        self._jobs: dict[int, Mapping[str, Any]] = {}
        self._finished: list[str] = []
        #: job id → the failure that was shown for it
        self._failures: dict[int, failures.Failure] = {}

    def note(self, record: logging.LogRecord) -> None:
        """Remember an announced job, even if its announcement is not shown."""
        if get_event(record) == LogEvent.JOB_INFO:
            self._jobs[record.jobid] = vars(record)  # type: ignore[attr-defined]

    def text(self, record: logging.LogRecord) -> str:
        """Text for a record. Empty if there is nothing to show."""
        fields = vars(record)
        match get_event(record):
            case LogEvent.JOB_FINISHED:
                self._finished.append(self._result(fields["job_id"]))
                return ""
            case LogEvent.PROGRESS:
                names, self._finished = self._finished, []
                return "\n".join(f"{fields['done']} of {fields['total']}  {name}" for name in names)
            case LogEvent.JOB_ERROR:
                return self._failure(fields["jobid"], fields)
            case LogEvent.RUN_INFO | LogEvent.ERROR | LogEvent.GROUP_ERROR | None:
                return self._message(record.getMessage())
            case _:
                return ""

    def _name(self, jobid: int) -> str:
        """Name of a job: its run for a training job, otherwise rule and wildcards (`figure figure1`)."""
        job = self._jobs.get(jobid)
        if job is None:
            return f"job {jobid}"
        given = [value.strip("/") for value in (job["wildcards"] or {}).values() if value]
        if job["rule_name"] == "train":
            return " ".join(self._names.get(run, run) for run in given)
        return " ".join([job["rule_name"], *given])

    def _result(self, jobid: int) -> str:
        job = self._jobs.get(jobid)
        found = failures.result(job["output"][0]) if job and job["rule_name"] == "train" else None
        return "  ".join(filter(None, [self._name(jobid), found]))

    def _failure(self, jobid: int, fields: Mapping[str, Any]) -> str:
        logs = [*fields["log"]]
        # Snakemake announces a job again when it restarts it.
        since = self._jobs[jobid]["created"] if jobid in self._jobs else 0.0
        found = failures.of_job(fields["rule_name"], fields["output"], logs, since)
        if self._failures.get(jobid) == found:
            return ""  # the second attempt failed in the same way
        self._failures[jobid] = found
        shown = show_logs(logs) if self._show_failed_logs else ()
        return "\n".join([failures.block(self._name(jobid), found), *shown])

    def _message(self, message: str) -> str:
        if message.startswith(_NOISE) or "CalledProcessError in file" in message or message == "None":
            return ""
        if restart := _RESTART.match(message):
            jobid = int(restart[1])
            found = self._failures.get(jobid)
            # Snakemake says so of an interrupted job too, although it starts no more jobs then.
            silent = found is not None and (found.final or found.interrupted)
            return "" if silent else f"{self._name(jobid)} is tried once more"
        return message


class Lines(logging.StreamHandler):
    """Handler that writes plain lines: for a file, a pipe, or a terminal without the plugin."""

    def __init__(self, stream: TextIO, settings: Any, names: Mapping[str, str]) -> None:
        super().__init__(stream)
        self._digest, self._quiet = Digest(settings.show_failed_logs, names), settings.quiet or ()

    def filter(self, record: logging.LogRecord) -> Any:  # a bool, or from Python 3.12 on a record
        """Apply `--quiet`. Failures are shown unless it is `--quiet all`."""
        self._digest.note(record)
        if get_event(record) == LogEvent.JOB_ERROR:
            return Quietness.ALL not in self._quiet
        return super().filter(record)

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record."""
        return self._digest.text(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the text of a record unless it is empty."""
        try:
            if text := self.format(record):
                self.stream.write(f"{text}\n")
                self.flush()
        except Exception:  # logging must not raise in its caller, for example after the terminal was closed
            self.handleError(record)


def _bars(settings: Any, names: Mapping[str, str]) -> logging.Handler | None:
    """Handler with the plugin's bars and our lines above them, or None if the plugin is not installed."""
    try:
        from snakemake_logger_plugin_rich import LogHandler
    except ImportError:
        return None
    from rich.progress import TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Bars(LogHandler):
        digest = Digest(settings.show_failed_logs, names)

        def emit(self, record: logging.LogRecord) -> None:
            try:
                self.show(record)
            except Exception:  # as in `Lines`
                self.handleError(record)

        def show(self, record: logging.LogRecord) -> None:
            self.digest.note(record)
            event = get_event(record)
            if event in {LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.RUN_INFO}:
                shown = copy.copy(record)
                if event == LogEvent.JOB_INFO:
                    shown.log = []  # the plugin prints the whole logs of a job that fails
                super().emit(shown)
            if event != LogEvent.RUN_INFO and (text := self.digest.text(record)):
                style = "red" if record.levelno >= logging.ERROR else ""
                self.console.print(Text(text, style), soft_wrap=True)

    handler: Any = Bars(settings, None)
    with contextlib.suppress(AttributeError, ValueError):  # other versions of the plugin: keep their bars
        spinner, _, *columns = handler.progress.columns  # the dropped column shows one running job too many
        handler.progress.columns = (spinner, *columns, TextColumn("left"), TimeRemainingColumn())
        handler.live_display.refresh_per_second = 2
    found: logging.Handler = handler
    return found
