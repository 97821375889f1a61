"""Loader of configuration files and overrides into a validated campaign."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sign_ablate.config.campaign import Campaign
from sign_ablate.config.data import ImageFolder
from sign_ablate.config.errors import ConfigError, keys_of, lines, shown, unknown
from sign_ablate.config.read import parse_yaml, read_yaml
from sign_ablate.data.digest import identified
from sign_ablate.data.errors import DataError
from sign_ablate.store.layout import RESULTS


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` updated with `over`: mappings are merged, all other values replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def override(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return `values` with an override such as `methods.sgd.lr=0.1`: a path of keys and a value in YAML.

    `__` may replace the dot, which Snakemake's --config refuses. Raises ConfigError for an unknown path.
    """
    path, equals, value = text.partition("=")
    keys = path.replace("__", ".").split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{shown(text)}: must be KEY=VALUE, such as methods.sgd.lr=0.1")
    try:
        over = parse_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"{text}: {error}") from None
    here: Any = dict.fromkeys(keys_of(Campaign)) | values
    for depth, key in enumerate(keys[:-1], 1):
        name = ".".join(keys[:depth])
        if not isinstance(here, dict):
            raise ConfigError(f"{name}: {'.'.join(keys[: depth - 1])} = {shown(here)} has no keys")
        if key not in here:
            raise ConfigError(unknown(name, key, here, "unknown key"))
        here = {} if here[key] is None else here[key]
    for key in reversed(keys):
        over = {key: over}
    return merge(values, over)


def load_campaign(
    paths: Sequence[str | Path], overrides: Sequence[str] = (), results: Path = RESULTS
) -> Campaign:
    """Load a campaign from files and overrides such as `seeds=[0]`. Later files take precedence.

    The choices of its `tuning` are read from their file, below `results` by default.

    Raises:
        ConfigError: if the campaign is invalid. Each problem is one line: key, value, and what is allowed.
    """
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import size_problems  # all import this package
    from sign_ablate.tuning.choice import with_choices
    from sign_ablate.tuning.search import repeated

    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_yaml(Path(path)))
    try:
        for text in overrides:
            values = override(values, text)
        if "tuned" in values:
            raise ConfigError("tuned: read from tuning.file; write fixed values into the methods")
        campaign = parse_campaign(values)
        _raise(size_problems(campaign, expand(campaign, placeholders=True)))
        if campaign.tuning is not None:
            campaign = _with_drawable_figures(with_choices(campaign, results))
            _raise(repeated(campaign))
            expand(campaign)  # the values that were chosen are in the range of their options
    except ConfigError as error:
        where = ", ".join(map(str, [*paths, *overrides]))
        raise ConfigError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from None
    return campaign


def parse_campaign(values: Mapping[str, Any]) -> Campaign:
    """Validate the campaign that `values` describe, and its grid. Raises ConfigError."""
    from sign_ablate.campaign.grid import expand
    from sign_ablate.campaign.preflight import figure_problems

    try:
        campaign = Campaign.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(lines(error, Campaign))) from None
    campaign = _with_contents(campaign)
    if not campaign.seeds:
        raise ConfigError("seeds = []: give at least one seed")
    if len(set(campaign.seeds)) < len(campaign.seeds):
        raise ConfigError(f"seeds = {shown(campaign.seeds)}: a value is given twice; remove one")
    if campaign.tuning is not None and campaign.tuning.seed in campaign.seeds:
        raise ConfigError(
            f"tuning.seed = {campaign.tuning.seed}: is one of seeds; trials need a seed of their own"
        )
    if not campaign.tuned:  # a job's campaign has its choices: it is checked already, and may leave out cells
        _raise(figure_problems(campaign, expand(campaign, placeholders=True)))
    return campaign


def _with_drawable_figures(campaign: Campaign) -> Campaign:
    """Copy of the campaign without the figures all of whose cells are left out of the evaluation."""
    from sign_ablate.campaign.grid import expand, left_out
    from sign_ablate.campaign.preflight import is_drawable

    if not left_out(campaign):
        return campaign
    runs = expand(campaign, placeholders=True)
    figures = {label: figure for label, figure in campaign.figures.items() if is_drawable(figure, runs)}
    return campaign.model_copy(update={"figures": figures})


def _with_contents(campaign: Campaign) -> Campaign:
    """Copy of the campaign with the digests of its image folders."""
    datasets, problems = dict(campaign.datasets), []
    for label, spec in campaign.datasets.items():
        if isinstance(spec, ImageFolder):
            try:
                datasets[label] = identified(spec)
            except DataError as error:
                problems.append(f"datasets.{label}: {error}")
    _raise(problems)
    return campaign.model_copy(update={"datasets": datasets})


def _raise(problems: Iterable[str]) -> None:
    found = dict.fromkeys(problems)
    if found:
        raise ConfigError("\n".join(found))
