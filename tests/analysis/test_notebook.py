"""Notebooks executed in the process itself."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.getipython import get_ipython

from sign_ablate.analysis.notebook import NotebookError, execute
from sign_ablate.jobs import parent, warm
from tests.conftest import ROOT, pids

pytestmark = pytest.mark.slow

PARAMETERS = nbformat.v4.new_code_cell("a = 1\nb = 'x'", metadata={"tags": ["parameters"]})


def write(folder: Path, *sources: str) -> Path:
    notebook = nbformat.v4.new_notebook(
        cells=[PARAMETERS, *map(nbformat.v4.new_code_cell, sources)],
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
    )
    path = folder / "in.ipynb"
    nbformat.write(notebook, path)
    return path


def outputs(path: Path) -> list[list[nbformat.NotebookNode]]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_of_cells_are_those_of_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import papermill

    cells = (
        "print(a, b)",
        "import sys\nprint('careful', file=sys.stderr)",
        "from IPython.display import HTML, display\ndisplay(HTML('<b>1</b>'))\nHTML('<i>2</i>')",
        "c = a + 1\nc",
        "c;",
    )
    source, parameters = write(tmp_path, *cells), {"a": 2, "b": "it's"}
    execute(source, tmp_path / "ours.ipynb", parameters)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    papermill.execute_notebook(source, tmp_path / "kernel.ipynb", parameters, progress_bar=False)

    def shown(name: str) -> list[list[object]]:
        return [
            [(out.get("name"), out.get("text"), out.get("data")) for out in cell]
            for cell in outputs(tmp_path / name)
        ]

    assert shown("ours.ipynb") == shown("kernel.ipynb")
    assert shown("ours.ipynb")[2] == [("stdout", "2 it's\n", None)]


def test_notebooks_share_nothing(tmp_path: Path) -> None:
    execute(write(tmp_path, "left_behind = 1"), tmp_path / "a.ipynb", {})
    assert get_ipython() is None
    with pytest.raises(NotebookError, match="NameError"):
        execute(write(tmp_path, "left_behind"), tmp_path / "b.ipynb", {})


@pytest.mark.parametrize("cell", ["1 / 0", "def f(", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_a_failing_cell_is_one_block(cell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path, "print('before')", cell, "print('after')"), tmp_path / "out.ipynb"
    with pytest.raises(NotebookError) as error:
        execute(source, out, {})
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(f"{source}: cell 3: ")
    assert str(error.value).endswith(f"; outputs so far: {out}")
    log = capfd.readouterr().out
    assert "before" in log
    assert 'Exception encountered at "In [3]"' in log
    assert "\x1b" not in log
    assert "papermill" not in log
    assert "after" not in log
    before, failed, after = outputs(out)[1:]
    assert (before[0].text, failed[-1].output_type, after) == ("before\n", "error", [])


def test_a_full_disk_in_a_cell_is_one_line_with_advice(tmp_path: Path) -> None:
    source = write(tmp_path, "with open('/dev/full', 'w') as file:\n    file.write('x')")
    with pytest.raises(NotebookError, match="No space left on device; make room there, then run"):
        execute(source, tmp_path / "out.ipynb", {})


def test_a_file_that_is_no_notebook_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "in.ipynb"
    for text in ("", "no JSON"):
        path.write_text(text)
        with pytest.raises(NotebookError) as error:
            execute(path, tmp_path / "out.ipynb", {})
        assert str(path) in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def command(source: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "sign_ablate", "notebook", str(source), str(out), *options]


def test_command(tmp_path: Path) -> None:
    source, out = write(tmp_path, "print(repr(a), repr(b))"), tmp_path / "new" / "out.ipynb"
    page = tmp_path / "page.html"
    options = ("-p", "b=x=y", "-n", "a=-7", "--html", str(page))
    done = subprocess.run(
        command(source, out, *options), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "-7 'x=y'\n"
    assert "-7 'x=y'" in page.read_text()
    for wrong in (("-n", "a=much"), ("-n", "a")):
        done = subprocess.run(
            command(source, out, *wrong), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "is not a whole number" in done.stderr


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_one_process_imports_for_all_notebooks(tmp_path: Path) -> None:
    source = write(tmp_path, "import os, sys\nprint('seaborn' in sys.modules, os.getppid())\nassert a")
    with subprocess.Popen(["sleep", "600"]) as snakemake:
        environment = {**os.environ, warm.VARIABLE: "1", parent.VARIABLE: str(snakemake.pid)}

        def call(*options: str) -> "subprocess.CompletedProcess[str]":
            line = command(source, tmp_path / "out.ipynb", *options)
            return subprocess.run(
                line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )

        try:
            done = [call(), call()]
            (server,) = pids(f"sign_ablate.jobs.warm.server {snakemake.pid} {warm.NOTEBOOKS}")
            assert [each.stdout for each in done] == [f"True {server}\n"] * 2
            failed = call("-n", "a=0")
            assert failed.returncode == 1
            assert "cell 3: AssertionError" in failed.stderr
        finally:
            snakemake.kill()
