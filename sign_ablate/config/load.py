"""Reads configuration files and overrides into a checked campaign."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sign_ablate.config.campaign import Campaign
from sign_ablate.config.errors import ConfigError, lines, shown, unknown
from sign_ablate.config.methods import Switch
from sign_ablate.config.read import parse_yaml, read_yaml


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top: mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def override(values: dict[str, Any], text: str) -> dict[str, Any]:
    """`values` with an override such as `methods.sgd.lr=0.1`: a path of keys, and a value in YAML.

    `__` stands for the dot, which Snakemake's --config refuses. Raises ConfigError for an unknown path.
    """
    path, equals, value = text.partition("=")
    keys = path.replace("__", ".").split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{shown(text)}: must be KEY=VALUE, such as methods.sgd.lr=0.1")
    try:
        over = parse_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"{text}: {error}") from None
    here: Any = dict.fromkeys(Campaign.model_fields) | values
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


def load_campaign(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Campaign:
    """The campaign in `paths` (later ones laid over earlier ones), with `overrides` such as `seeds=[0]`.

    Raises:
        ConfigError: with one line for each problem: the key, its value and what is allowed.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_yaml(Path(path)))
    try:
        for text in overrides:
            values = override(values, text)
        return parse_campaign(values)
    except ConfigError as error:
        where = ", ".join(map(str, [*paths, *overrides]))
        raise ConfigError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from None


def parse_campaign(values: Mapping[str, Any]) -> Campaign:
    """The campaign that `values` describe, with its grid checked. Raises ConfigError."""
    from sign_ablate.grid import expand

    try:
        campaign = Campaign.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(lines(error, Campaign))) from None
    if not campaign.seeds:
        raise ConfigError("seeds = []: give at least one seed")
    if len(set(campaign.seeds)) < len(campaign.seeds):
        raise ConfigError(f"seeds = {shown(campaign.seeds)}: a value stands twice; remove one")
    runs = expand(campaign)
    methods: list[object] = [run.config.method for run in runs]
    switches = {method.t_switch for method in methods if isinstance(method, Switch)}
    for label, figure in campaign.figures.items():
        key = f"figures.{label}"
        if figure.dataset not in campaign.datasets:
            raise ConfigError(
                unknown(f"{key}.dataset = {figure.dataset!r}", figure.dataset, campaign.datasets)
            )
        if figure.t_switch is not None and figure.kind != "switching":
            raise ConfigError(f"{key}.t_switch = {figure.t_switch}: applies to kind: switching only")
        if figure.t_switch is not None and figure.t_switch not in switches:
            allowed = ", ".join(map(str, sorted(switches))) or "none: no method switches"
            raise ConfigError(
                f"{key}.t_switch = {figure.t_switch}: no run switches there (allowed: {allowed})"
            )
    return campaign
