"""Fingerprints of code: what changes them and what does not, and that no module is left out unseen."""

import ast
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sign_ablate.store import environment, fingerprint
from tests.conftest import ROOT

#: what makes neither numbers nor tables: the options, which a run's spec has; what starts and watches jobs
NEITHER = [
    "campaign/__init__.py",
    "campaign/identity.py",
    "campaign/preflight.py",
    "campaign/spaces.py",
    "campaign/warm_start.py",
    "cli",
    "config",
    "jobs",
    "store",
    "terminal",
    "tuning/__init__.py",
    "tuning/design.py",
    "tuning/search.py",
]
NEITHER += [f"{name}.py" for name in ("__init__", "__main__", "files", "repository")]

MODULE = '''"""A module."""
def f(x, y=1.5):
    """Its docstring."""
    return {"a": x + y}  # a comment
'''
SAME_MODULE = '''def f(
    x,
    y=1.50,
):
    """Another docstring, and
    a longer one."""

    # the braces of a formatter
    return {
        'a': (x + y),
    }
'''
C = '#include <math.h>\nfloat f(float x) { return x /* as float */ * 2.0f; } // "f"\n'
SAME_C = "#include <math.h>\n\nfloat f(float x)\n{\n    return x*2.0f;  /* a 'comment' */\n}\n"


def notebook(code: str, prose: str, **more: object) -> str:
    cells = [
        {"cell_type": "code", "id": "0", "metadata": {"tags": ["parameters"]}, "source": code, **more},
        {"cell_type": "markdown", "id": "1", "metadata": {}, "source": [prose]},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4})


def of(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return fingerprint.of_files([folder / name])


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("module.py", MODULE, SAME_MODULE),
        ("step.c", C, SAME_C),
        ("a.ipynb", notebook("x = 1", "# T"), notebook("x  =  1  # one", "# T", outputs=["1"])),
    ],
)  # fmt: skip
def test_comments_docstrings_and_formatting_do_not_count(
    name: str, text: str, same: str, tmp_path: Path
) -> None:
    assert of(tmp_path, name, text) == of(tmp_path, name, same)


@pytest.mark.parametrize(
    ("name", "text", "other"),
    [
        ("module.py", MODULE, MODULE.replace("x + y", "x - y")),
        ("module.py", MODULE, MODULE.replace("1.5", "1.25")),
        ("module.py", MODULE, MODULE.replace('"a"', '"b"')),
        ("module.py", "x = 1", "x = True"),
        ("module.py", "if x:\n    y()\nz()", "if x:\n    y()\n    z()"),
        ("module.py", "x = (", "x = ["),
        ("step.c", C, C.replace("2.0f", "3.0f")),
        ("step.c", C, C.replace("x /*", "-x /*")),
        ("step.c", 'f("a // b");', 'f("a // c");'),
        ("a.ipynb", notebook("x = 1", "# T"), notebook("x = 2", "# T")),
        ("a.ipynb", notebook("x = 1", "# T"), notebook("x = 1", "# Table")),
    ],
)  # fmt: skip
def test_every_other_edit_counts(name: str, text: str, other: str, tmp_path: Path) -> None:
    assert of(tmp_path, name, text) != of(tmp_path, name, other)


def test_every_module_is_known_to_make_numbers_tables_or_neither() -> None:
    numbers = (fingerprint.TRAINING, fingerprint.ANALYSIS, fingerprint.CLAIMS, fingerprint.THEORY)
    known = [*(name for names in numbers for name in names), *NEITHER]
    unknown = [
        name
        for path in fingerprint.PACKAGE.rglob("*.py")
        for name in [path.relative_to(fingerprint.PACKAGE).as_posix()]
        if not any(name == k or name.startswith(f"{k}/") for k in known)
    ]
    assert unknown == [], (
        "list it in sign_ablate/store/fingerprint.py where it makes numbers or tables, else here"
    )
    assert all((fingerprint.PACKAGE / name).exists() for name in known)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("optim/sign_step/step.c", "training"),
        ("optim/signsgd.py", "training"),
        ("models/small.py", "training"),
        ("data/batches.py", "training"),
        ("train/loop.py", "training"),
        ("analysis/figures.py", "analysis"),
        ("analysis/stats.py", "analysis"),
        ("cli.py", "neither"),
        ("optim/options/signsgd.py", "neither"),  # texts, ranges, and defaults
        ("claims/verdict.py", "neither"),  # it makes the ledger, from the tables
    ],
)
def test_edit_of_a_module_changes_the_fingerprint_it_belongs_to(
    name: str, counts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint.of_training(), fingerprint.of_analysis()
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "sign_ablate")
    shutil.copytree(ROOT / "sign_ablate", fingerprint.PACKAGE)
    with (fingerprint.PACKAGE / name).open("a") as file:
        file.write("int edited;\n" if name.endswith(".c") else "edited = 1\n")
    after = fingerprint.of_training.__wrapped__(), fingerprint.of_analysis.__wrapped__()
    training, analysis = (a != b for a, b in zip(before, after, strict=True))
    assert (training, analysis) == (counts == "training", counts == "analysis")


def test_it_is_cheap() -> None:
    """Against the import of torch, which takes seconds."""
    fingerprint.of_training.cache_clear()
    start = time.process_time()
    fingerprint.of_training()
    assert time.process_time() - start < 1.0


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a package and other files, committed."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("sign_ablate/__init__.py", "sign_ablate/optim/a.py", "workflow/rules/b.smk", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "sign_ablate")
    environment._git_commit.cache_clear()
    yield tmp_path
    environment._git_commit.cache_clear()


def test_copy_in_the_repository_of_another_project_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = checkout / ".venv/lib/sign_ablate"
    copy.mkdir(parents=True)
    (copy / "__init__.py").touch()
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    assert environment._git_commit() is None


@pytest.mark.parametrize("name", ["sign_ablate/optim/a.py", "workflow/rules/b.smk", "README.md"])
def test_commit_has_a_plus_wherever_the_tree_has_changes(name: str, checkout: Path) -> None:
    head = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (checkout / "notes.txt").write_text("not tracked, and no code\n")
    assert environment._git_commit() == head
    environment._git_commit.cache_clear()
    (checkout / name).write_text("two\n")
    assert environment._git_commit() == f"{head}+"


def test_new_module_is_a_change_of_the_commit(checkout: Path) -> None:
    (checkout / "sign_ablate/optim/new.py").write_text("one\n")
    commit = environment._git_commit()
    assert commit is not None
    assert commit.endswith("+")


def test_texts_of_nested_formats_are_those_of_every_version() -> None:
    """Python 3.12 and newer patch releases of 3.11 end the format with an empty text, others do not."""
    with_text = ast.parse("f'{x:{w}}'")
    inner = with_text.body[0].value.values[0].format_spec  # type: ignore[attr-defined]
    inner.values = [part for part in inner.values if isinstance(part, ast.FormattedValue)]
    without = fingerprint._plain(with_text)
    inner.values = [*inner.values, ast.Constant("")]
    assert fingerprint._plain(with_text) == without
