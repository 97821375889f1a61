"""Commands about stored runs, and the cells of several campaigns."""

from pathlib import Path
from typing import Annotated

import typer

from sign_ablate.cli.options import DEFAULT_CONFIG, Configs, Set, fail, load_each
from sign_ablate.terminal.sorting import Sort

app = typer.Typer()


@app.command()
def show(run: str, results: Path = Path("results")) -> None:
    """Show the configuration, state and last epochs of a run. RUN is a part of its id, or its folder."""
    from sign_ablate.terminal.find import NotFoundError
    from sign_ablate.terminal.show import show as text

    try:
        print(text(run, results))
    except NotFoundError as error:
        fail(error)


@app.command()
def runs(
    configs: Configs = None,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
) -> None:
    """List the stored runs: options, state, time of the end, and the given campaigns that use them."""
    from sign_ablate.terminal.store import runs_text

    print(runs_text(load_each(configs or DEFAULT_CONFIG, overrides, results), results))


@app.command()
def prune(
    configs: Annotated[list[Path], typer.Argument(help="Configuration files of all campaigns to keep.")],
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
) -> None:
    """List the runs and data files that none of the given campaigns uses; with --delete, delete them."""
    from sign_ablate.jobs.run_lock import JobError
    from sign_ablate.terminal.store import prune as text

    try:
        print(text(load_each(configs, overrides, results), results, delete=delete))
    except (JobError, OSError) as error:
        fail(error)


@app.command()
def compare(
    campaigns: Annotated[list[str] | None, typer.Argument(help="Names of campaigns; default: all.")] = None,
    sort: Annotated[Sort, typer.Option(help="Order of the rows; ties by test accuracy.")] = Sort.DATASET,
    results: Path = Path("results"),
) -> None:
    """Show the cells of several campaigns in one table, with their test accuracy."""
    from sign_ablate.terminal.compare import NothingToCompareError
    from sign_ablate.terminal.compare import compare as text

    try:
        print(text(results, campaigns or (), sort))
    except NothingToCompareError as error:
        fail(error)
