"""The command line. The first four commands are Snakemake's jobs; the others are for users."""

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

Config = Annotated[
    list[Path], typer.Option("--config", "-c", help="Configuration file; later ones override.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as methods.sgd.lr=0.1."),
]
DEFAULT_CONFIG = [default_config()]


def _fail(error: Exception) -> NoReturn:
    """Exit with a one-line message, without a traceback."""
    from sign_ablate.files import advice
    from sign_ablate.jobs.log import complain

    complain(f"sign-ablate: error: {error}{advice(error)}")
    sys.exit(1)


@app.command()
def prepare(
    spec: Annotated[str, typer.Option(help="The data set as canonical JSON.")],
    out: Annotated[Path, typer.Option(help="The data file to write.")],
    location: Annotated[str, typer.Option(help="Location as JSON: path or download_dir.")] = "{}",
    replaces: Annotated[int, typer.Option(help="Modification time (ns) of the file to replace.")] = 0,
) -> None:
    """Write the uint8 data file of a data set (a Snakemake job)."""
    from sign_ablate.campaign.identity import parse_dataset
    from sign_ablate.config import ConfigError
    from sign_ablate.data.common import DataError
    from sign_ablate.jobs.preparation import prepare as write

    try:
        write(parse_dataset(spec, location), out, replaces=replaces)
    except (ConfigError, DataError, OSError) as error:
        _fail(error)


@app.command()
def train(
    spec: Annotated[str, typer.Option(help="The run as canonical JSON: the spec in run.json.")],
    data: Annotated[Path, typer.Option(help="The prepared data file.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a free GPU, otherwise cpu.")] = "cpu",
    deterministic: Annotated[int, typer.Option(min=0, max=1, help="1: reproducible on a GPU.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    compile_mode: Annotated[str, typer.Option("--compile", help="none, or a torch.compile mode.")] = "none",
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    replaces: Annotated[int, typer.Option(help="Modification time (ns) of the result to replace.")] = 0,
    attempt: Annotated[
        int, typer.Option(min=1, help="Number of the attempt; ends if the last was final.")
    ] = 1,
) -> None:
    """Train one run (a Snakemake job). Exits with 0 if the run diverges. A finished run is kept."""
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
def choose(
    campaign: Annotated[str, typer.Option(help="The campaign as JSON, with its tuning.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
) -> None:
    """Choose the best trial of each search that has no choice yet (a Snakemake job)."""
    import json

    from sign_ablate.config import ConfigError, parse_campaign
    from sign_ablate.jobs.log import say
    from sign_ablate.store.record import DamagedError
    from sign_ablate.tuning.choice import NoChoiceError
    from sign_ablate.tuning.choice import choose as write

    try:
        say(f"choices: {write(parse_campaign(json.loads(campaign)), results)}")
    except (ConfigError, NoChoiceError, DamagedError, OSError) as error:
        _fail(error)


@app.command()
def aggregate(
    campaign: Annotated[str, typer.Option(help="The campaign as JSON.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    partial: Annotated[bool, typer.Option("--partial", help="Use the runs finished so far.")] = False,
) -> None:
    """Write the tables of a campaign's runs (a Snakemake job)."""
    import json

    from sign_ablate.analysis.aggregate import AggregateError
    from sign_ablate.analysis.aggregate import aggregate as write
    from sign_ablate.config import ConfigError, parse_campaign

    try:
        write(parse_campaign(json.loads(campaign)), results, out, partial=partial)
    except (ConfigError, AggregateError, OSError) as error:
        _fail(error)


@app.command()
def theory(
    name: Annotated[str, typer.Argument(help="Name of an experiment, or claims: the verdicts.")],
    out: Annotated[Path, typer.Option(help="The table to write.")],
    tables: Annotated[list[Path] | None, typer.Argument(help="For claims: tables of experiments.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of an experiment's random numbers.")] = 0,
) -> None:
    """Run an experiment of the theory lab, which needs no campaign (a Snakemake job)."""
    from sign_ablate.theory import CLAIMS, lab

    try:
        if name == CLAIMS:
            lab.write_claims(tables or [], out)
        else:
            lab.write(name, out, seed)
    except (lab.TheoryError, OSError) as error:
        _fail(error)


@app.command()
def notebook(
    source: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook to execute.")],
    out: Annotated[Path, typer.Argument(help="The executed notebook to write.")],
    texts: Annotated[list[str], typer.Option("-p", metavar="NAME=TEXT", help="A parameter.")] = [],  # noqa: B006
    numbers: Annotated[
        list[str], typer.Option("-n", metavar="NAME=NUMBER", help="An integer parameter.")
    ] = [],  # noqa: B006
    html: Annotated[
        Path | None, typer.Option(help="Also write the outputs as one self-contained HTML file.")
    ] = None,
) -> None:
    """Execute a notebook with papermill (a Snakemake job)."""
    from sign_ablate.analysis.export import export
    from sign_ablate.analysis.notebook import NotebookError, execute

    try:
        execute(source, out, {**_parameters(texts, str), **_parameters(numbers, int)})
        if html is not None:
            export(out, html)
    except (NotebookError, OSError) as error:
        _fail(error)


def _parameters(texts: list[str], kind: type[str] | type[int]) -> dict[str, Any]:
    """Parse parameters given as NAME=VALUE."""
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
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Also list the runs done after so long.")
    ] = None,
) -> None:
    """Show the cells, the runs left to do, and their time as estimated from past runs."""
    from sign_ablate.terminal.plan import plan as text

    print(text(_campaign(config, overrides, results), results, minutes))


@app.command()
def status(
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", help="Configuration file; default: the running campaign."),
    ] = None,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, max=86400, metavar="SECONDS", help="Update every SECONDS until the end."),
    ] = None,
) -> None:
    """Show the finished, running and failed runs, the newest results and the remaining time."""
    from sign_ablate.jobs.log import complain
    from sign_ablate.terminal import status as people
    from sign_ablate.terminal.current import running

    current = [] if config or overrides else running(results)
    for other in current[1:]:
        complain(f"sign-ablate: {other.campaign} is also running; sign-ablate status --config FILE shows it")
    campaign = current[0] if current else _campaign(config or DEFAULT_CONFIG, overrides, results)
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
    """List files made by a different version of the code: snakemake --forcerun $(sign-ablate outdated)."""
    from sign_ablate.terminal.outdated import outdated as files

    for path in files(_campaign(config, overrides, results), results):
        print(path)


@app.command()
def show(run: str, results: Path = Path("results")) -> None:
    """Show the configuration, state and last epochs of a run. RUN is a part of its id, or its folder."""
    from sign_ablate.terminal.find import NotFoundError
    from sign_ablate.terminal.show import show as text

    try:
        print(text(run, results))
    except NotFoundError as error:
        _fail(error)


Configs = Annotated[list[Path] | None, typer.Argument(help="Configuration files, one per campaign.")]


@app.command()
def runs(configs: Configs = None, results: Path = Path("results")) -> None:
    """List the stored runs: options, state, time of the end, and the given campaigns that use them."""
    from sign_ablate.terminal.store import runs_text

    print(runs_text(_campaigns(configs or DEFAULT_CONFIG, results), results))


@app.command()
def prune(
    configs: Annotated[list[Path], typer.Argument(help="Configuration files of all campaigns to keep.")],
    results: Path = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
) -> None:
    """List the runs and data files that none of the given campaigns uses; with --delete, delete them."""
    from sign_ablate.jobs.run_lock import JobError
    from sign_ablate.terminal.store import prune as text

    try:
        print(text(_campaigns(configs, results), results, delete=delete))
    except (JobError, OSError) as error:
        _fail(error)


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
        _fail(error)


@app.command()
def schema(
    check: Annotated[bool, typer.Option("--check", help="Only check; fail if outdated.")] = False,
) -> None:
    """Write the files generated from the code: the JSON schema, docs/config.md and docs/results.md."""
    from sign_ablate.terminal import generated

    stale = generated.write(Path(), check=check)
    if stale and check:
        _fail(ValueError(f"{', '.join(stale)}: not up to date; run sign-ablate schema"))


def _campaign(config: list[Path], overrides: Sequence[str], results: Path) -> "Campaign":
    """Load a campaign and print its warnings to standard error."""
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import warnings
    from sign_ablate.config import ConfigError, load_campaign
    from sign_ablate.jobs.log import complain

    try:
        campaign = load_campaign(config, overrides, results)
    except ConfigError as error:
        _fail(error)
    for line in warnings(campaign, expand(campaign)):
        complain(f"sign-ablate: warning: {line}")
    return campaign


def _campaigns(configs: Sequence[Path], results: Path) -> "list[Campaign]":
    """Load the campaign of each configuration file."""
    from sign_ablate.config import ConfigError, load_campaign

    try:
        return [load_campaign([path], results=results) for path in configs]
    except ConfigError as error:
        _fail(error)
