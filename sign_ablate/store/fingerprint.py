"""Fingerprints of source code: a change of what it computes changes them, one of its text alone does not.

Comments, docstrings, formatting and the outputs of notebooks are left out. A fingerprint is the same in every
version of Python. It is of the files as they are now: a process asks before it works, not when it is done.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
#: What makes the numbers of a run, and what does not. A run's `spec` has the options that were set, and a
#: changed default needs a new NUMERICS_VERSION (tests/test_golden.py).
TRAINING = ("optim", "models", "data", "train")
NOT_TRAINING = "optim/options"
#: What makes tables, figures and reports of the runs. The labels of cells are in campaign/grid.py.
ANALYSIS = ("analysis", "campaign/grid.py", "store/reading.py", "store/run_files.py")
_HEX_DIGITS = 12
_C_TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\w+|[^\w\s]""", re.DOTALL)


@cache
def of_training() -> str:
    """The fingerprint of the code that makes the numbers of a run; computed once per process."""
    return of_files(_files(TRAINING))


@cache
def of_analysis() -> str:
    """The fingerprint of the code that makes tables and figures of runs; computed once per process."""
    return of_files(_files(ANALYSIS))


def of_files(paths: Iterable[Path]) -> str:
    """The fingerprint of Python modules, C sources and notebooks, each with its name."""
    digest = hashlib.sha256()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        digest.update(repr((path.name, _CONTENT[path.suffix](text))).encode())
    return digest.hexdigest()[:_HEX_DIGITS]


def _files(names: Iterable[str]) -> list[Path]:
    """The sources of modules and packages of sign_ablate, in an order of their own."""
    found = []
    for name in names:
        path = PACKAGE / name
        found += sorted(p for p in path.rglob("*") if p.suffix in {".py", ".c"}) if path.is_dir() else [path]
    return [path for path in found if PACKAGE / NOT_TRAINING not in path.parents]


def _python(text: str) -> Any:
    try:
        return _plain(ast.parse(text))
    except SyntaxError:  # for the process that imports it to say
        return text


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples and lists. Not `ast.dump`, which differs between versions of Python."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return type(node).__name__, *((name, _plain(value)) for name, value in fields)
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_docstring(item)]
    return node


def _is_docstring(node: Any) -> bool:
    """True where a statement is a string and nothing else."""
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)


def _c(text: str) -> list[str]:
    return [token for token in _C_TOKEN.findall(text) if not token.startswith(("//", "/*"))]


def _notebook(text: str) -> list[Any]:
    cells = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        tags = cell["metadata"].get("tags", [])  # papermill looks for `parameters`
        cells.append((tags, _python(source) if cell["cell_type"] == "code" else source))
    return cells


_CONTENT = {".py": _python, ".c": _c, ".ipynb": _notebook}
