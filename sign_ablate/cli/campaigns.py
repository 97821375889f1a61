"""Commands about a campaign: its plan, its status, and its outdated files."""

from pathlib import Path
from typing import Annotated

import typer

from sign_ablate.cli.options import DEFAULT_CONFIG, Config, Set, fail, load

app = typer.Typer()


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
    campaign = load(config, overrides, results, local=cluster is None)
    print(text(campaign, results, minutes, cluster))


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
    campaign = current[0] if current else load(config or DEFAULT_CONFIG, overrides, results)
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

    for path in files(load(config, overrides, results), results):
        print(path)
