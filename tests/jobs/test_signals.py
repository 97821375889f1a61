"""Forwarding of Snakemake's signals to its training jobs."""

import signal
import subprocess
import sys
import time

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
checkpoint = "time.sleep(0.5), os.kill(os.getpid(), 9)"  # takes its time
code = f"import os, signal, time; signal.signal(15, lambda *_: ({checkpoint})); print(1); time.sleep(60)"
sleep = [sys.executable, "-uc", code, "sign_ablate", "train"]
job = subprocess.Popen(sleep, stdout=subprocess.PIPE, start_new_session=True)
job.stdout.readline()
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


@pytest.mark.parametrize(
    ("numbers", "events"),
    [
        ([signal.SIGTERM], "no more jobs"),
        ([signal.SIGHUP], "no more jobs"),
        ([signal.SIGINT], "interrupted, no more jobs"),
        ([signal.SIGINT, signal.SIGINT], "interrupted, no more jobs"),  # the second without a traceback
    ],
)
def test_a_signal_to_snakemake_alone_ends_its_jobs(numbers: list[signal.Signals], events: str) -> None:
    with subprocess.Popen([sys.executable, "-c", SNAKEMAKE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.2)
        out, _ = process.communicate(timeout=60)
    assert out == f"{events}, {-signal.SIGKILL}\n"
