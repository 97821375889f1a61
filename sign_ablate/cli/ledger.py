"""Commands about verdicts: show, export and rebuild them, and write them to pages."""

from pathlib import Path
from typing import Annotated

import typer

from sign_ablate.cli.options import DEFAULT_CONFIG, Config, Set, fail, load

Out = Annotated[Path | None, typer.Option(help="Folder to write; default: results/reference/<campaign>.")]

app = typer.Typer()


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
        print(text(results, campaign or load(config, overrides, results).campaign))
    except NoLedgerError as error:
        fail(error)


@app.command()
def export(
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    out: Out = None,
    partial: Annotated[bool, typer.Option("--partial", help="Results of snakemake partial.")] = False,
) -> None:
    """Copy the tables, ledger, tuned.json and figures of a campaign to a folder to keep."""
    from sign_ablate.store.layout import reference_folder
    from sign_ablate.store.record import DamagedError
    from sign_ablate.terminal.export import ExportError
    from sign_ablate.terminal.export import export as text

    campaign = load(config, overrides, results)
    out = out or reference_folder(results) / campaign.campaign
    try:
        print(text(campaign, config, results, out, partial, overrides))
    except (ExportError, DamagedError, OSError) as error:
        fail(error)


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(help="Folders that export wrote; the first has precedence.")],
    config: Config = DEFAULT_CONFIG,
    overrides: Set = [],  # noqa: B006
    results: Path = Path("results"),
    out: Out = None,
) -> None:
    """Make one export of a campaign from those of its parts, such as seeds that several machines ran."""
    from sign_ablate.analysis.aggregate import AggregateError
    from sign_ablate.analysis.notebook import NotebookError
    from sign_ablate.config import ConfigError
    from sign_ablate.store.record import DamagedError
    from sign_ablate.terminal.export import ExportError
    from sign_ablate.terminal.merge import merge as text

    try:
        print(text(parts, config, overrides, results, out))
    except (ExportError, AggregateError, ConfigError, DamagedError, NotebookError, OSError) as error:
        fail(error)


@app.command()
def rebuild(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Exported campaigns; default: all in results/reference.")
    ] = None,
    results: Path = Path("results"),
    update: Annotated[
        bool,
        typer.Option("--update", help="Replace ledger, table and figures of the exports by the new ones."),
    ] = False,
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
        sources = folders or exported(reference_folder(results))
        print(text(sources, rebuilt_folder(results), update=update))
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
