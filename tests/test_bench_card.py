"""The table of benchmarks/card.py, with runs and a clock that are made up."""

import itertools

import pytest
import torch

from benchmarks.card import Setting, images_per_second, line, product_flops, table
from benchmarks.measure import METHODS, run_config


class FakeRun:
    """Logs what is asked of it."""

    def __init__(self, log, number):
        self.log, self.number = log, number

    def wait_until(self, state):
        self.log.append((state, self.number))

    def go(self):
        self.log.append(("go", self.number))

    def close(self):
        self.log.append(("close", self.number))


def test_runs_start_together_and_are_timed_from_then_to_the_last():
    log, number = [], itertools.count()
    clock = iter([100.0, 104.0])

    def now():
        log.append("clock")
        return next(clock)

    speed = images_per_second(
        Setting("none", 2, batch=10, steps=6), lambda setting: FakeRun(log, next(number)), now
    )
    assert speed == 2 * 10 * 6 / 4
    assert log == [
        ("ready", 0), ("ready", 1), "clock", ("go", 0), ("go", 1), ("done", 0), ("done", 1), "clock",
        ("close", 0), ("close", 1),
    ]  # fmt: skip


def test_processes_are_ended_if_one_fails():
    log = []

    class Failing(FakeRun):
        def wait_until(self, state):
            raise RuntimeError("a run ended before it was ready, with code 1")

    with pytest.raises(RuntimeError, match="before it was ready"):
        images_per_second(Setting("none", 2), lambda setting: Failing(log, 0))
    assert log == [("close", 0)] * 2


def test_a_line_of_the_table():
    """1,000 images/s are 3.33 TFLOP/s; Table I is 7,000 · 53,333 images."""
    setting = Setting("reduce-overhead", 4, method="hybrid")
    assert line(setting, 1000.0, 33.3e12) == "| hybrid | CUDA graphs | 4 | 1,000 | 10% | 103.7 |"


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_configurations_that_run(method):
    assert run_config("small", 10, "float32", method).method.lr > 0


def test_a_setting_that_fails_is_a_line_of_its_own():
    def measure(setting):
        if setting.runs == 2:
            raise RuntimeError("a run ended before it was ready, with code 1")
        return 100.0

    lines = list(table([Setting("none", 2), Setting("default", 1)], 1e12, measure))
    assert [row.count("|") for row in lines] == [7] * 4
    assert lines[2].startswith("| SGD | eager | 2 | a run ended before it was ready")
    assert lines[3].startswith("| SGD | compiled | 1 | 100 |")


def test_flops_of_a_product():
    """Each takes a second of the clock: the warm-up is not timed."""
    seconds = itertools.count()
    assert product_flops(torch.device("cpu"), lambda: float(next(seconds))) == 2 * 512**3 * 2
