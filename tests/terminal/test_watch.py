"""status --watch as a user calls it, and what the command imports."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.terminal.conftest import Campaigner

pytestmark = pytest.mark.slow


def command(config: dict[str, Any], folder: Path, *arguments: str) -> list[str]:
    (folder / "config.yaml").write_text(json.dumps(config))
    options = ["--config", str(folder / "config.yaml"), "--results", str(folder)]
    return [sys.executable, "-m", "sign_ablate", "status", *options, *arguments]


@pytest.fixture
def nearly(config: dict[str, Any], tmp_path: Path) -> Campaigner:
    """All but the last run are done."""
    made = Campaigner(config, tmp_path, now=time.time())
    for name in list(made.runs)[:-1]:
        made.finish(name, ago=100)
    return made


def test_watch_prints_plain_blocks_to_a_pipe_until_all_is_done(
    nearly: Campaigner, config: dict[str, Any], tmp_path: Path
) -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    call = command(config, tmp_path, "--watch", "0.2")
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        late = threading.Timer(60, process.kill)
        late.start()
        blocks = [until(process.stdout.readline, "None is in progress.\n") for _ in range(2)]
        nearly.finish("adam.s1", ago=0)
        rest = process.stdout.read()
        late.cancel()
    assert process.returncode == 0
    assert all("5 of 6 runs done (83%)." in block for block in blocks)
    assert rest.endswith("\n6 of 6 runs done (100%).\n\n")
    assert "\x1b" not in "".join([*blocks, rest])


def until(read: Callable[[], str], end: str) -> str:
    text = ""
    while not text.endswith(end):
        part = read()
        assert part, text
        text += part
    return text


def test_watch_draws_in_place_on_a_terminal_and_ends_with_ctrl_c(
    nearly: Campaigner, config: dict[str, Any], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    call = command(config, tmp_path, "--watch", "0.2")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    # In the background of a script, SIGINT is ignored, and children inherit that.
    call = ["env", "--default-signal=INT", *call]
    with subprocess.Popen(call, cwd=ROOT, env=environment, **streams) as process:
        os.close(theirs)
        text, sent, end = "", False, time.monotonic() + 60
        while time.monotonic() < end and select.select([ours], [], [], 10)[0]:
            try:
                text += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                break
            if text.count("5 of 6 runs done") >= 2 and not sent:
                process.send_signal(signal.SIGINT)
                sent = True
        if not sent or time.monotonic() >= end:
            process.kill()
    os.close(ours)
    assert process.returncode == 0
    assert sent
    assert "Traceback" not in text
    first, second = text.split("5 of 6 runs done")[:2]
    lines_of_a_block = second.count("\x1b[1A")  # up by one, for each line that is drawn again
    assert lines_of_a_block == first.count("\n") + 2  # and those below: what is left, none in progress
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize("arguments", [[], ["--watch", "0.1"]])
def test_status_imports_no_torch(
    arguments: list[str], nearly: Campaigner, config: dict[str, Any], tmp_path: Path
) -> None:
    """It is there at once."""
    nearly.finish("adam.s1", ago=0)
    call = command(config, tmp_path, *arguments)[4:]
    code = (
        f"import sys; from sign_ablate.cli import app; app(['status', *{call}], standalone_mode=False); "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("6 of 6 runs done (100%).\n" + "\n" * bool(arguments) + "[]\n")
