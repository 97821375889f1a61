"""The command line: the commands for users, and those of Snakemake's jobs (cli_jobs.py)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sign_ablate import cli_jobs
from sign_ablate.cli_jobs import fail
from sign_ablate.repository import default_config
from sign_ablate.terminal.sorting import Sort

if TYPE_CHECKING:
    from sign_ablate.config import Campaign

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Rerunnable ablations of sign-based optimizers.",
)  # fmt: skip
app.add_typer(cli_jobs.app)

Config = Annotated[
    list[Path], typer.Option("--config", "-c", help="Configuration file; later ones override.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as methods.sgd.lr=0.1."),
]
DEFAULT_CONFIG = [default_config()]


@app.command()
def plan(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006  (typer reads it and copies it)
    results: Path = Path("results"),
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Also list the runs done after this time.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Snakemake profile of a cluster: also show queue slots and hours.")
    ] = None,
) -> None:
    """Show the cells, the runs left to do, and their time as estimated from past runs."""
    from sign_ablate.config import ConfigError
    from sign_ablate.terminal.cluster import read_profile
    from sign_ablate.terminal.plan import plan as text

    try:
        cluster = None if profile is None else read_profile(profile)
    except ConfigError as error:
        fail(error)
    print(text(_campaign(config, overrides, results), results, minutes, cluster))


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
    from sign_ablate.config import ConfigError
    from sign_ablate.jobs.log import complain
    from sign_ablate.terminal import status as people
    from sign_ablate.terminal.current import running

    current = [] if config or overrides else running(results)
    for other in current[1:]:
        complain(f"sign-ablate: {other.campaign} is also running; sign-ablate status --config FILE shows it")
    campaign = current[0] if current else _campaign(config or DEFAULT_CONFIG, overrides, results)
    try:
        if watch is None:
            print(people.status(campaign, results))
        else:
            people.watch(campaign, results, watch)
    except ConfigError as error:  # the file of choices of a campaign that runs
        fail(error)


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
        fail(error)


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


@app.command("claims")
def show_claims(
    campaign: Annotated[
        str | None, typer.Argument(help="Name of a campaign; default: that of the configuration.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
) -> None:
    """Show the verdict on each claim of the paper, from a campaign's ledger."""
    from sign_ablate.terminal.claims import NoLedgerError
    from sign_ablate.terminal.claims import claims as text

    if campaign is not None and not set("./").isdisjoint(campaign):
        fail(ValueError(f"{campaign}: must be the name of a campaign; for its file: claims -c {campaign}"))
    try:
        print(text(results, campaign or _campaign(config, overrides, results).campaign))
    except NoLedgerError as error:
        fail(error)


@app.command()
def export(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default: results/reference/<campaign>.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Results of snakemake partial.")] = False,
) -> None:
    """Copy the tables, ledger, tuned.json and figures of a campaign to a folder to keep."""
    from sign_ablate.store.layout import reference_folder
    from sign_ablate.store.record import DamagedError
    from sign_ablate.terminal.export import ExportError
    from sign_ablate.terminal.export import export as text

    campaign = _campaign(config, overrides, results)
    out = out or reference_folder(results) / campaign.campaign
    try:
        print(text(campaign, config, results, out, partial=partial))
    except (ExportError, DamagedError, OSError) as error:
        fail(error)


@app.command()
def rebuild(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Exported campaigns; default: all in results/reference.")
    ] = None,
    results: Path = Path("results"),
) -> None:
    """Make the ledger, figures and report of exported campaigns again, in results/rebuilt/<campaign>."""
    from sign_ablate.analysis.notebook import NotebookError
    from sign_ablate.config import ConfigError
    from sign_ablate.store.layout import rebuilt_folder, reference_folder
    from sign_ablate.store.record import DamagedError
    from sign_ablate.terminal.export import ExportError
    from sign_ablate.terminal.rebuild import exported
    from sign_ablate.terminal.rebuild import rebuild as text

    try:
        print(text(folders or exported(reference_folder(results)), rebuilt_folder(results)))
    except (ExportError, ConfigError, DamagedError, NotebookError, OSError) as error:
        fail(error)


@app.command()
def picture(
    campaigns: Annotated[list[str], typer.Argument(help="Names of exported campaigns.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    results: Path = Path("results"),
) -> None:
    """Draw the first screen of the ledger of exported campaigns as a PNG."""
    from sign_ablate.store.layout import reference_folder
    from sign_ablate.terminal.claims import NoLedgerError
    from sign_ablate.terminal.pages import draw

    if out.suffix != ".png":
        fail(ValueError(f"--out {out}: must end in .png"))
    try:
        draw(campaigns, reference_folder(results), out)
    except (NoLedgerError, OSError) as error:
        fail(error)


@app.command()
def schema(
    check: Annotated[bool, typer.Option("--check", help="Only check; fail if outdated.")] = False,
) -> None:
    """Write the generated files: JSON schema, docs/config.md, docs/results.md, and verdicts on pages."""
    from sign_ablate.terminal import generated

    stale = generated.write(Path(), check=check)
    if stale and check:
        fail(ValueError(f"{', '.join(stale)}: not up to date; run sign-ablate schema"))


def _campaign(config: list[Path], overrides: Sequence[str], results: Path) -> "Campaign":
    """Load a campaign and print its warnings to standard error."""
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import warnings
    from sign_ablate.config import ConfigError, load_campaign
    from sign_ablate.jobs.log import complain

    try:
        campaign = load_campaign(config, overrides, results)
    except ConfigError as error:
        fail(error)
    for line in warnings(campaign, expand(campaign, placeholders=True)):
        complain(f"sign-ablate: warning: {line}")
    return campaign


def _campaigns(configs: Sequence[Path], results: Path) -> "list[Campaign]":
    """Load the campaign of each configuration file."""
    from sign_ablate.config import ConfigError, load_campaign

    try:
        return [load_campaign([path], results=results) for path in configs]
    except ConfigError as error:
        fail(error)
