"""Reads a configuration file into a checked campaign."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sign_ablate.config.campaign import Campaign
from sign_ablate.config.data import ImageFolder
from sign_ablate.config.errors import ConfigError, lines, unknown
from sign_ablate.config.methods import Switch
from sign_ablate.data.digest import identified
from sign_ablate.data.errors import DataError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; a method would vanish."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for index, (key, (key_node, _)) in enumerate(zip(keys, node.value, strict=True)):
        if key in keys[:index]:
            line = key_node.start_mark.line + 1
            raise ConfigError(f"line {line}: the key {key!r} stands twice; rename or remove one")
    return dict(
        zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True)
    )


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError with the line of a syntax error."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; run in the repository's folder or name a file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise ConfigError(f"{path}:{line} not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of keys, such as `campaign: demo`")
    return values


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top: mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _typed(override: Any, base: Any) -> Any:
    """`override`, its text read as YAML where it is not `base`'s: Snakemake's --config makes text of all."""
    if isinstance(override, Mapping):
        inner = base if isinstance(base, dict) else {}
        return {key: _typed(value, inner.get(key)) for key, value in override.items()}
    if isinstance(override, list) and override != base:
        return [_typed(value, None) for value in override]
    return yaml.safe_load(override) if isinstance(override, str) and override != base else override


def load_campaign(paths: Sequence[str | Path], overrides: Mapping[str, Any] | None = None) -> Campaign:
    """The campaign in `paths` (later ones laid over earlier ones), then `overrides`.

    Raises:
        ConfigError: with one line for each problem: the key, its value and what is allowed.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = merge(values, read_yaml(Path(path)))
    where = ", ".join(str(path) for path in paths)
    try:
        return parse_campaign(merge(values, _typed(overrides or {}, values)))
    except ConfigError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from None


def parse_campaign(values: Mapping[str, Any]) -> Campaign:
    """The campaign that `values` describe, with its grid checked. Raises ConfigError."""
    from sign_ablate.grid import expand

    try:
        campaign = Campaign.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(lines(error, Campaign))) from None
    campaign = _with_contents(campaign)
    if not campaign.seeds:
        raise ConfigError("seeds = []: give at least one seed")
    if len(set(campaign.seeds)) < len(campaign.seeds):
        raise ConfigError(f"seeds = {list(campaign.seeds)}: a value stands twice; remove one")
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


def _with_contents(campaign: Campaign) -> Campaign:
    """The campaign with the digests of its image folders."""
    datasets, problems = dict(campaign.datasets), []
    for label, spec in campaign.datasets.items():
        if isinstance(spec, ImageFolder):
            try:
                datasets[label] = identified(spec)
            except DataError as error:
                problems.append(f"datasets.{label}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return campaign.model_copy(update={"datasets": datasets})
