"""Fixtures that the tests of jobs share."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sign_ablate.__main__ import main


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[str]], SimpleNamespace]:
    """A function that runs `python -m sign_ablate …` in this process, and returns its status and output."""

    def run(command: list[str]) -> SimpleNamespace:
        assert command[:3] == [sys.executable, "-m", "sign_ablate"]
        monkeypatch.setattr(sys, "argv", ["sign-ablate", *command[3:]])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=out, stderr=err)

    return run
