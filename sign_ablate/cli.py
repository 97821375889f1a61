"""The command line. Snakemake's jobs are the first four commands; the others are for people."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sign_ablate.repository import default_config
from sign_ablate.terminal.sorting import Sort

if TYPE_CHECKING:
    from sign_ablate.config import Campaign

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Rerunnable ablations of sign-based optimizers.",
)  # fmt: skip

Config = Annotated[list[Path], typer.Option("--config", "-c", help="Configuration; later ones win.")]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of it, such as methods.sgd.lr=0.1."),
]
DEFAULT_CONFIG = [default_config()]


def _fail(error: Exception) -> NoReturn:
    """One line for the user; no traceback for what is not a bug."""
    from sign_ablate.files import advice
    from sign_ablate.jobs.log import complain

    complain(f"sign-ablate: error: {error}{advice(error)}")
    sys.exit(1)


@app.command()
def prepare(
    spec: Annotated[str, typer.Option(help="What the data are: canonical JSON.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    location: Annotated[str, typer.Option(help="Where they are: JSON with path or download_dir.")] = "{}",
    replaces: Annotated[int, typer.Option(help="Make again the file of this time (ns).")] = 0,
) -> None:
    """Write a data set's uint8 file (a job of Snakemake's)."""
    from sign_ablate.campaign.grid import parse_dataset
    from sign_ablate.config import ConfigError
    from sign_ablate.data.common import DataError
    from sign_ablate.jobs.preparation import prepare as write

    try:
        write(parse_dataset(spec, location), out, replaces=replaces)
    except (ConfigError, DataError, OSError) as error:
        _fail(error)


@app.command()
def train(
    spec: Annotated[str, typer.Option(help="The run: canonical JSON, as in its run.json.")],
    data: Annotated[Path, typer.Option(help="The prepared data file.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU that is free, or else cpu.")] = "cpu",
    deterministic: Annotated[int, typer.Option(min=0, max=1, help="1: bitwise equal on a GPU.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    compile_mode: Annotated[str, typer.Option("--compile", help="none, or torch.compile's mode.")] = "none",
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    replaces: Annotated[int, typer.Option(help="Train again the result of this time (ns).")] = 0,
    attempt: Annotated[int, typer.Option(min=1, help="2 or more: not where the one before was final.")] = 1,
) -> None:
    """Train one run (a job of Snakemake's). A diverged run is a result: exit 0. One that is done stays."""
    from sign_ablate.jobs import training
    from sign_ablate.jobs.attempt import EXPECTED, repeated
    from sign_ablate.jobs.checkpoint import Interrupted
    from sign_ablate.jobs.gpu import claim
    from sign_ablate.jobs.log import complain, say

    if attempt > 1 and (before := repeated(out)) is not None:
        complain(before.details or f"sign-ablate: error: {before.cause}")
        sys.exit(1)
    try:
        result = training.train(
            spec, data, out,
            device=claim(device), deterministic=bool(deterministic), threads=threads,
            compile_mode=compile_mode, checkpoint_seconds=checkpoint_seconds,
            replaces=replaces,
        )  # fmt: skip
    except EXPECTED as error:
        _fail(error)
    except Interrupted as stopped:
        sys.exit(128 + stopped.args[0])
    if result is not None and result.diverged_at_step is not None:
        say(f"diverged: loss or gradient not finite at step {result.diverged_at_step}")


@app.command()
def aggregate(
    campaign: Annotated[str, typer.Option(help="The campaign as JSON.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    partial: Annotated[bool, typer.Option("--partial", help="Take the runs that exist.")] = False,
) -> None:
    """Write the tables of a campaign's runs (a job of Snakemake's)."""
    import json

    from sign_ablate.analysis.aggregate import AggregateError
    from sign_ablate.analysis.aggregate import aggregate as write
    from sign_ablate.config import ConfigError, parse_campaign

    try:
        write(parse_campaign(json.loads(campaign)), results, out, partial=partial)
    except (ConfigError, AggregateError, OSError) as error:
        _fail(error)


@app.command()
def notebook(
    source: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook to execute.")],
    out: Annotated[Path, typer.Argument(help="The executed notebook to write.")],
    texts: Annotated[list[str], typer.Option("-p", metavar="NAME=TEXT", help="A parameter.")] = [],  # noqa: B006
    numbers: Annotated[
        list[str], typer.Option("-n", metavar="NAME=NUMBER", help="A parameter that is a whole number.")
    ] = [],  # noqa: B006
    html: Annotated[
        Path | None, typer.Option(help="Write the outputs as one HTML file that needs nothing else.")
    ] = None,
) -> None:
    """Execute a notebook with papermill (a job of Snakemake's)."""
    from sign_ablate.analysis.export import export
    from sign_ablate.analysis.notebook import NotebookError, execute

    try:
        execute(source, out, {**_parameters(texts, str), **_parameters(numbers, int)})
        if html is not None:
            export(out, html)
    except (NotebookError, OSError) as error:
        _fail(error)


def _parameters(texts: list[str], kind: type[str] | type[int]) -> dict[str, Any]:
    """The parameters in NAME=VALUE texts."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = kind(value)
        except ValueError:
            raise typer.BadParameter(f"{text}: {value!r} is no whole number") from None
    return found


@app.command()
def plan(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006  (typer reads it and copies it)
    results: Path = Path("results"),
    minutes: Annotated[float | None, typer.Option(min=0, help="Say what will be done after so long.")] = None,
) -> None:
    """Cells, what is left to run, and the time it will take by measured past runs."""
    from sign_ablate.terminal.plan import plan as text

    print(text(_campaign(config, overrides), results, minutes))


@app.command()
def status(
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", help="Configuration; by default that of the campaign that runs now."),
    ] = None,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, max=86400, metavar="SECONDS", help="Look again every so often, to the end."),
    ] = None,
) -> None:
    """Runs done of all, time left, the runs in progress and the newest results."""
    from sign_ablate.jobs.log import complain
    from sign_ablate.terminal import status as people
    from sign_ablate.terminal.current import running

    current = [] if config or overrides else running(results)
    for other in current[1:]:
        complain(f"sign-ablate: {other.campaign} runs as well; sign-ablate status --config FILE shows it")
    campaign = current[0] if current else _campaign(config or DEFAULT_CONFIG, overrides)
    if watch is None:
        print(people.status(campaign, results))
    else:
        people.watch(campaign, results, watch)


@app.command()
def outdated(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
) -> None:
    """The files of runs that other code has made: snakemake --forcerun $(sign-ablate outdated)."""
    from sign_ablate.terminal.outdated import outdated as files

    for path in files(_campaign(config, overrides), results):
        print(path)


@app.command()
def show(run: str, results: Path = Path("results")) -> None:
    """One run: its configuration, state and last epochs. RUN is a part of its id, or campaign/part."""
    from sign_ablate.terminal.find import NotFoundError
    from sign_ablate.terminal.show import show as text

    try:
        print(text(run, results))
    except NotFoundError as error:
        _fail(error)


Configs = Annotated[list[Path] | None, typer.Argument(help="Configurations, each of a campaign of its own.")]


@app.command()
def runs(configs: Configs = None, results: Path = Path("results")) -> None:
    """The runs in the store: what they are, when they ended, and which of the campaigns given use them."""
    from sign_ablate.terminal.store import runs_text

    print(runs_text(_campaigns(configs or DEFAULT_CONFIG), results))


@app.command()
def prune(
    configs: Annotated[list[Path], typer.Argument(help="Configurations of all campaigns whose runs stay.")],
    results: Path = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
) -> None:
    """The runs and data files that none of the campaigns given refers to; with --delete, delete them."""
    from sign_ablate.jobs.run_lock import JobError
    from sign_ablate.terminal.store import prune as text

    try:
        print(text(_campaigns(configs), results, delete=delete))
    except (JobError, OSError) as error:
        _fail(error)


@app.command()
def compare(
    campaigns: Annotated[list[str] | None, typer.Argument(help="Names of campaigns; all by default.")] = None,
    sort: Annotated[Sort, typer.Option(help="Order of the rows; then by test accuracy.")] = Sort.DATASET,
    results: Path = Path("results"),
) -> None:
    """The cells of several campaigns in one table, with their test accuracy."""
    from sign_ablate.terminal.compare import NothingToCompareError
    from sign_ablate.terminal.compare import compare as text

    try:
        print(text(results, campaigns or (), sort))
    except NothingToCompareError as error:
        _fail(error)


@app.command()
def schema(check: Annotated[bool, typer.Option("--check", help="Fail where they differ.")] = False) -> None:
    """Write what is generated from the code: the JSON schema, docs/config.md, docs/results.md."""
    from sign_ablate.terminal import generated

    stale = generated.write(Path(), check=check)
    if stale and check:
        _fail(ValueError(f"{', '.join(stale)}: not up to date; run sign-ablate schema"))


def _campaign(config: list[Path], overrides: Sequence[str] = ()) -> "Campaign":
    """The campaign, its warnings on standard error."""
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import warnings
    from sign_ablate.config import ConfigError, load_campaign
    from sign_ablate.jobs.log import complain

    try:
        campaign = load_campaign(config, overrides)
    except ConfigError as error:
        _fail(error)
    for line in warnings(campaign, expand(campaign)):
        complain(f"sign-ablate: warning: {line}")
    return campaign


def _campaigns(configs: Sequence[Path]) -> "list[Campaign]":
    """A campaign of each configuration."""
    from sign_ablate.config import ConfigError, load_campaign

    try:
        return [load_campaign([path]) for path in configs]
    except ConfigError as error:
        _fail(error)
