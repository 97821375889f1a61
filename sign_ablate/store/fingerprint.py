"""Fingerprints of source code, which change with what the code computes.

Comments, docstrings, formatting and the outputs of notebooks are ignored. A fingerprint is the same in every
version of Python. It is computed from the files as they are now, so a process takes it before its work.
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
#: Sources that determine the numbers of a run. NOT_TRAINING is excluded: a run's `spec` has the options that
#: were set, and a changed default needs a new NUMERICS_VERSION (tests/test_golden.py).
TRAINING = ("optim", "distributed", "models", "data", "train")
NOT_TRAINING = "optim/options"
#: Sources that determine the content of prepared data files. They are part of TRAINING, too.
DECODING = tuple(
    f"data/{name}.py"
    for name in (
        "cifar",
        "cifar_facts",
        "decode",
        "folder",
        "generated",
        "parquet",
        "prepare",
        "sources",
        "tree",
    )
)
#: Sources that determine tables, figures and reports. campaign/template.py makes the labels of cells.
ANALYSIS = (
    "analysis",
    "campaign/cells.py",
    "campaign/grid.py",
    "campaign/template.py",
    "store/reading.py",
    "store/run_files.py",
    "tuning/choice.py",
)
#: Sources of the theory lab. Each experiment lists those that determine its table.
THEORY = ("theory",)
#: Sources that determine the ledger of claims, from the tables.
CLAIMS = ("claims",)
_HEX_DIGITS = 12
_C_TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\w+|[^\w\s]""", re.DOTALL)


@cache
def of_training() -> str:
    """Fingerprint of the code that determines the numbers of a run, computed once per process."""
    return of_files(_files(TRAINING))


@cache
def of_decoding() -> str:
    """Fingerprint of the code that makes prepared data files, computed once per process."""
    return of_files(_files(DECODING))


@cache
def of_analysis() -> str:
    """Fingerprint of the code that makes tables, figures and reports, computed once per process."""
    return of_files(_files(ANALYSIS))


def of_sources(names: Iterable[str]) -> str:
    """Fingerprint of modules and packages of sign_ablate, given by their paths in it."""
    return of_files(_files(names))


@cache
def of_claims() -> str:
    """Fingerprint of the code that makes the ledger of claims, computed once per process."""
    return of_files(_files(CLAIMS))


def of_files(paths: Iterable[Path]) -> str:
    """Fingerprint of Python modules, C sources and notebooks, and of their names."""
    digest = hashlib.sha256()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        digest.update(repr((path.name, _CONTENT[path.suffix](text))).encode())
    return digest.hexdigest()[:_HEX_DIGITS]


def _files(names: Iterable[str]) -> list[Path]:
    """Source files of modules and packages of sign_ablate, in a fixed order."""
    found = []
    for name in names:
        path = PACKAGE / name
        found += sorted(p for p in path.rglob("*") if p.suffix in {".py", ".c"}) if path.is_dir() else [path]
    return [path for path in found if PACKAGE / NOT_TRAINING not in path.parents]


def _python(text: str) -> Any:
    try:
        return _plain(ast.parse(text))
    except SyntaxError:  # the process that imports it reports the error
        return text


def _plain(node: Any) -> Any:
    """Convert a syntax tree to nested tuples and lists. `ast.dump` differs between versions of Python."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends nested format specifications with empty texts
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return type(node).__name__, *((name, _plain(value)) for name, value in fields)
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_docstring(item)]
    return node


def _is_docstring(node: Any) -> bool:
    """Return True if a statement is a string and nothing else."""
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
