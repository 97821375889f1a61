"""The examples in the docstrings run."""

import doctest
import subprocess
import sys

import pytest

from sign_ablate.optim import base, compressed_sgd, compressors, lion, onebit_adam, swats


@pytest.mark.parametrize(
    ("module", "classes"),
    [(lion, 1), (swats, 1), (onebit_adam, 1), (compressed_sgd, 1), (compressors, 5)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_examples(module: object, classes: int) -> None:
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]  # type: ignore[arg-type]
    assert len(tests) == classes
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_optimizers_import_only_torch() -> None:
    code = (
        "import sys, sign_ablate.optim; "
        "print([m for m in ('pydantic', 'snakemake', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert base.__doc__
