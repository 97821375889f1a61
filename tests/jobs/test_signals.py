"""Forwarding of Snakemake's signals to its training jobs."""

import signal
import subprocess
import sys

import pytest

#: a Snakemake with a job that a signal to Snakemake's process group would not reach
SNAKEMAKE = """
import os, signal, subprocess, sys
from sign_ablate.jobs import parent, signals
events = []
signal.signal(signal.SIGTERM, lambda *_: events.append("no more jobs"))
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signals.pass_on_to_jobs(lambda line: None)
os.environ[parent.VARIABLE] = str(os.getpid())
sleep = [sys.executable, "-c", "import time; time.sleep(60)", "sign_ablate", "train"]
job = subprocess.Popen(sleep, start_new_session=True)
try:
    print("ready", flush=True)
    ended = job.wait(30)
except KeyboardInterrupt:
    events.append("interrupted")
    ended = job.wait(30)
finally:
    job.kill()
print(*sorted(events), ended, sep=", ")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_snakemake_alone_ends_its_jobs(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SNAKEMAKE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    interrupted = "interrupted, " if number == signal.SIGINT else ""
    assert out == f"{interrupted}no more jobs, {-signal.SIGTERM}\n"
