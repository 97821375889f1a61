"""The examples in the docstrings of the optimizers and compressors run."""

import doctest
import pkgutil
from importlib import import_module

import pytest

from sign_ablate import optim
from tests.optim.cases import KINDS

MODULES = sorted(info.name for info in pkgutil.walk_packages(optim.__path__, f"{optim.__name__}."))


def _examples(module: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(import_module(module)) if test.examples]


@pytest.mark.parametrize("module", [module for module in MODULES if _examples(module)])
def test_examples(module: str) -> None:
    assert doctest.testmod(import_module(module)).failed == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_optimizer_has_an_example(kind: type) -> None:
    assert kind.__name__ in {test.name.split(".")[-1] for test in _examples(kind.__module__)}
