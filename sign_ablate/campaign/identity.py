"""Identity of runs and data sets: canonical texts of their configuration, and hashes of these."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

from sign_ablate import NUMERICS_VERSION
from sign_ablate.config.base import Model, canonical
from sign_ablate.config.campaign import Campaign, RunConfig
from sign_ablate.config.data import LOCATION, DatasetSpec
from sign_ablate.config.errors import ConfigError

HASH_CHARS = 10
_DATASET: TypeAdapter[DatasetSpec] = TypeAdapter(DatasetSpec)


def identity(config: Model) -> str:
    """Canonical JSON text of NUMERICS_VERSION and of the values that differ from the defaults.

    Defaults are left out so that adding a key does not rename existing runs. Changing a default requires a
    bump of NUMERICS_VERSION (tests/test_golden.py).
    """
    values = _without_defaults(config)
    return canonical({"numerics": NUMERICS_VERSION, **values})


def _without_defaults(config: Model) -> dict[str, Any]:
    values = config.model_dump(mode="json", exclude_defaults=True)
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Model):
            values[name] = _without_defaults(value)
        elif name in {"source", "optimizer"}:  # equal to its default in every model, but it selects the model
            values[name] = value
    return values


def short_hash(text: str) -> str:
    """First HASH_CHARS characters of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_CHARS]


def data_id(spec: DatasetSpec) -> str:
    """Name of a data set's file: its source and a hash of its specification, without the location."""
    return f"{spec.source}.{short_hash(identity(spec.without_location()))}"


def campaign_spec(campaign: Campaign, *, tuning: bool = False) -> str:
    """JSON text of the parts of a campaign that determine its tables, in the user's order.

    It has neither `execution` nor the locations of data. It has `tuning` only on request: with the choices of
    `tuned`, the evaluation does not depend on the search for them.
    """
    left_out = {"execution"} if tuning else {"execution", "tuning"}
    values = campaign.model_dump(mode="json", exclude=left_out, exclude_unset=True)
    for dataset in values["datasets"].values():
        for key in LOCATION:
            dataset.pop(key, None)
    return json.dumps(values, separators=(",", ":"))


def parse_run(spec: str) -> RunConfig:
    """Parse a run's configuration from its `Run.spec`. Raises ConfigError if this version cannot train it."""
    return RunConfig.model_validate_json(_checked(spec))


def parse_dataset(spec: str, location: str = "{}") -> DatasetSpec:
    """Parse a data set from its canonical text and its location (JSON). Raises like `parse_run`."""
    return _DATASET.validate_python({**json.loads(_checked(spec)), **json.loads(location)})


def _checked(spec: str) -> str:
    values = json.loads(spec)
    version = values.pop("numerics", None)
    if version != NUMERICS_VERSION:
        raise ConfigError(
            f"numerics: this is version {NUMERICS_VERSION}, the spec is of version {version}; start the run "
            "with snakemake"
        )
    return canonical(values)
