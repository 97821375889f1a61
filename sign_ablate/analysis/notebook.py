"""Execution of notebooks with papermill in the current process.

A Jupyter kernel is a separate process that imports pandas and the plotting libraries again. That takes longer
than the notebooks' own work. The engine here runs the cells in an IPython shell of the current process.
Notebooks do not depend on it: `papermill notebooks/table1.ipynb out.ipynb -k python3` runs them in a kernel.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import papermill
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillException, PapermillExecutionError
from traitlets import Type
from traitlets.config import Config

from sign_ablate.files import advice

_ENGINE = "in-process"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(Exception):
    """A notebook cannot be executed, or a cell of it failed. The message names the notebook and the cause."""


def execute(notebook: Path, out: Path, parameters: dict[str, Any]) -> None:
    """Execute `notebook` with `parameters` and write it with its outputs to `out`, even if a cell fails.

    Output of the cells is also printed to standard output, as is a failing cell with its traceback.

    Raises:
        NotebookError: if a cell raised an exception, or `notebook` is not a notebook.
        OSError: if a file cannot be read or written.
    """
    papermill_engines.register(_ENGINE, _InProcess)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook, out, parameters, engine_name=_ENGINE, kernel_name="python3",
            progress_bar=False, request_save_on_cell_execute=False,
        )  # fmt: skip
    except PapermillExecutionError as error:
        print(_ANSI.sub("", str(error)).strip(), flush=True)
        reason = f"{error.ename}: {error.evalue}".splitlines()[0]
        raise NotebookError(f"{notebook}: cell {error.exec_count}: {reason}; outputs so far: {out}") from None
    except (PapermillException, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise NotebookError(f"{notebook}: {str(error).splitlines()[0]}") from None


class _LastValue(DisplayHook):
    """Keeps the value of a cell's last expression, in addition to what the cell displays."""

    def write_output_prompt(self) -> None:
        """Print no `Out[1]: `."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Keep the value's representations instead of printing one."""
        assert self.shell is not None  # it made this object
        self.shell.display_pub.outputs.append({"data": format_dict, "metadata": md_dict})


class _Shell(InteractiveShell):
    """An IPython shell that keeps what a cell displays, and its exception, as outputs of a notebook."""

    displayhook_class = Type(_LastValue)
    display_pub_class = Type(CapturingDisplayPublisher)

    def __init__(self, **options: Any) -> None:
        super().__init__(config=Config({"HistoryManager": {"enabled": False}}), **options)
        self.failure: nbformat.NotebookNode | None = None

    def _showtraceback(self, etype: type, evalue: BaseException, stb: list[str]) -> None:
        name = etype.__name__
        text = f"{evalue}{advice(evalue)}"
        self.failure = nbformat.v4.new_output("error", ename=name, evalue=text, traceback=stb)

    def run(self, cell: nbformat.NotebookNode) -> bool:
        """Run a code cell and store its outputs in it. Return False if it raised an exception."""
        self.display_pub.outputs.clear()
        self.failure = None
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            self.run_cell(cell.source, store_history=True)
        cell.outputs = []
        for name, text in (("stdout", out.getvalue()), ("stderr", err.getvalue())):
            if text:
                print(text, end="", flush=True)
                cell.outputs.append(nbformat.v4.new_output("stream", name=name, text=text))
        for shown in self.display_pub.outputs:
            data = {"data": shown["data"], "metadata": shown["metadata"] or {}}
            cell.outputs.append(nbformat.v4.new_output("display_data", **data))
        if self.failure is not None:
            cell.outputs.append(self.failure)
        return self.failure is None


class _InProcess(Engine):
    """A papermill engine that runs the cells in an IPython shell of this process."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> None:
        """Run the cells in order, up to the first that fails."""
        shell = _Shell.instance()
        try:
            code = [(i, cell) for i, cell in enumerate(nb_man.nb.cells) if cell.cell_type == "code"]
            for count, (index, cell) in enumerate(code, 1):
                nb_man.cell_start(cell, index)
                cell.execution_count = count
                succeeded = shell.run(cell)
                if not succeeded:
                    nb_man.cell_exception(cell, cell_index=index)
                nb_man.cell_complete(cell, cell_index=index)
                if not succeeded:
                    return
        finally:
            _Shell.clear_instance()
