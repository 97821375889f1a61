"""Options that several commands share, and the loading of the campaigns that they name."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sign_ablate.repository import default_config

if TYPE_CHECKING:
    from sign_ablate.config import Campaign

Config = Annotated[
    list[Path], typer.Option("--config", "-c", help="Configuration file; later ones override.")
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as methods.sgd.lr=0.1."),
]
DEFAULT_CONFIG = [default_config()]

Configs = Annotated[list[Path] | None, typer.Argument(help="Configuration files, one per campaign.")]


def fail(error: Exception) -> NoReturn:
    """Exit with a one-line message, without a traceback."""
    from sign_ablate.files import advice
    from sign_ablate.jobs.log import complain

    complain(f"sign-ablate: error: {error}{advice(error)}")
    sys.exit(1)


def load(config: list[Path], overrides: Sequence[str], results: Path, *, local: bool = True) -> "Campaign":
    """Load a campaign and print its warnings to standard error; if it runs here, on this machine, too."""
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import warnings
    from sign_ablate.config import ConfigError, load_campaign
    from sign_ablate.jobs.log import complain

    try:
        campaign = load_campaign(config, overrides, results)
    except ConfigError as error:
        fail(error)
    for line in warnings(campaign, expand(campaign, placeholders=True), local=local):
        complain(f"sign-ablate: warning: {line}")
    return campaign


def load_each(configs: Sequence[Path], overrides: Sequence[str], results: Path) -> "list[Campaign]":
    """Load the campaign of each configuration file, each with the overrides."""
    from sign_ablate.config import ConfigError, load_campaign

    try:
        return [load_campaign([path], overrides, results) for path in configs]
    except ConfigError as error:
        fail(error)
