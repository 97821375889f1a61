"""Expansion of a campaign into cells and runs. A run is identified by its resolved configuration."""

import dataclasses
import hashlib
import itertools
import json
import typing
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sign_ablate import NUMERICS_VERSION
from sign_ablate.config.base import Model, canonical
from sign_ablate.config.campaign import Campaign, RunConfig
from sign_ablate.config.data import LOCATION, DatasetSpec
from sign_ablate.config.errors import ConfigError, line, shown, unknown
from sign_ablate.config.methods import OPTIMIZERS, Optimizer
from sign_ablate.config.train import Train

HASH_CHARS = 10
M = typing.TypeVar("M", bound=Model)
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


@dataclasses.dataclass(frozen=True)
class Cell:
    """A method with one value of each of its axes, on one data set. Its runs differ only by seed."""

    #: labels of the data set and the method
    dataset: str
    method: str
    #: (key, value) of each axis: a key that the configuration gives as a list
    axes: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        """Label of the method, followed by the values of its axes."""
        return " ".join([self.method, *(f"{key}={_short(value)}" for key, value in self.axes)])


@dataclasses.dataclass(frozen=True)
class Run:
    """One training job."""

    cell: Cell
    config: RunConfig

    @cached_property
    def spec(self) -> str:
        """Canonical JSON text of the run, which `sign-ablate train` takes. The hash in the id is its hash."""
        return identity(self.config)

    @cached_property
    def id(self) -> str:
        """Name of the run's folder: `source.optimizer.s<seed>.<hash>`.

        It does not depend on labels or on the campaign's name. Renaming a label or sharing a cell between
        campaigns therefore trains nothing again.
        """
        config = self.config
        return f"{config.data.source}.{config.method.optimizer}.s{config.seed}.{short_hash(self.spec)}"

    @property
    def title(self) -> str:
        """Name of the run on a terminal: the campaign's labels, and the hash for `sign-ablate show`."""
        return f"{self.cell.dataset}  {self.cell.label}  seed {self.config.seed}  {self.id[-HASH_CHARS:]}"

    @cached_property
    def data_id(self) -> str:
        """Name of the data file that the run reads: `source.<hash>`."""
        return data_id(self.config.data)


def data_id(spec: DatasetSpec) -> str:
    """Name of a data set's file: its source and a hash of its specification, without the location."""
    return f"{spec.source}.{short_hash(identity(spec.without_location()))}"


def campaign_spec(campaign: Campaign) -> str:
    """JSON text of a campaign without `execution` and without the locations of data, in the user's order."""
    values = campaign.model_dump(mode="json", exclude={"execution"}, exclude_unset=True)
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
        raise ConfigError(f"numerics: this is version {NUMERICS_VERSION}, the spec is of version {version}")
    return canonical(values)


#: a method's label, the values of its axes, and the resolved options of method and training
_Point = tuple[str, tuple[tuple[str, Any], ...], Optimizer, Train]


def expand(campaign: Campaign) -> list[Run]:
    """Return all runs of a campaign, ordered by seed. Raises ConfigError with a line for each problem."""
    problems: list[str] = []
    cells: list[_Point] = []
    for label, values in campaign.methods.items():
        try:
            cells.extend(_method_cells(label, values, campaign.train))
        except ConfigError as error:
            problems.extend(str(error).splitlines())
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    runs = [
        Run(
            Cell(name, label, axes),
            # model_construct skips the validation: the parts are validated already
            RunConfig.model_construct(
                data=data.without_location(), method=typing.cast(Any, method), train=train, seed=seed
            ),
        )
        for seed in campaign.seeds
        for name, data in campaign.datasets.items()
        for label, axes, method, train in cells
    ]
    _reject_duplicates(runs)
    return runs


def _method_cells(label: str, values: dict[str, Any], shared: dict[str, Any]) -> Iterator[_Point]:
    where = f"methods.{label}"
    values = dict(values)
    name = values.pop("optimizer", None)
    if name is None:
        raise ConfigError(
            f"{where}.optimizer: required, but missing (known: {', '.join(sorted(OPTIMIZERS))})"
        )
    if isinstance(name, list):
        raise ConfigError(
            f"{where}.optimizer = {shown(name)}: optimizers cannot be an axis; give each a method of its own"
        )
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise ConfigError(unknown(f"{where}.optimizer = {shown(name)}", str(name), OPTIMIZERS))
    model = OPTIMIZERS[name]
    _reject_unknown(where, name, model, values, shared)
    merged = {**shared, **values}
    # epochs and steps are mutually exclusive: the method's own choice replaces the shared one
    for own, other in (("epochs", "steps"), ("steps", "epochs")):
        if own in values and other not in values:
            merged.pop(other, None)
    points = {
        key: _points(key, value, where if key in values else "train", model) for key, value in merged.items()
    }
    axes = [key for key, value in merged.items() if _is_axis(key, value, model)]
    for combination in itertools.product(*points.values()):
        chosen = dict(zip(points, combination, strict=True))
        method = _validate(model, {k: v for k, v in chosen.items() if k in model.model_fields}, where, values)
        train = _validate(Train, {k: v for k, v in chosen.items() if k in Train.model_fields}, where, values)
        _check_switch(where, method, train)
        yield label, tuple((key, chosen[key]) for key in axes), method, train


def _reject_unknown(
    where: str, name: str, model: type[Optimizer], values: dict[str, Any], shared: dict[str, Any]
) -> None:
    problems = []
    for key, value in values.items():
        if key in model.model_fields or key in Train.model_fields:
            continue
        takers = [other for other, options in OPTIMIZERS.items() if key in options.model_fields]
        known = sorted(({*model.model_fields} | {*Train.model_fields}) - {"optimizer"})
        if takers:
            problems.append(
                f"{where}.{key} = {shown(value)}: does not apply to optimizer {name} "
                f"(only to {', '.join(takers)}; {name} takes {', '.join(known)})"
            )
        else:
            problems.append(unknown(f"{where}.{key}", key, known, "unknown key"))
    for key in shared:
        if any(key in options.model_fields for options in OPTIMIZERS.values()):
            problems.append(f"train.{key}: belongs to a method; write it in each one that it is for")
        elif key not in Train.model_fields:
            problems.append(unknown(f"train.{key}", key, Train.model_fields, "unknown key"))
    if problems:
        raise ConfigError("\n".join(problems))


def _is_axis(key: str, value: Any, model: type[Optimizer]) -> bool:
    if not isinstance(value, list):
        return False
    field = model.model_fields.get(key) or Train.model_fields[key]
    takes_list = typing.get_origin(field.annotation) is tuple
    return not takes_list or any(isinstance(item, list) for item in value)


def _points(key: str, value: Any, where: str, model: type[Optimizer]) -> list[Any]:
    if not _is_axis(key, value, model):
        return [value]
    if not value:
        raise ConfigError(f"{where}.{key} = []: an empty axis leaves no run; give at least one value")
    if any(point in value[:index] for index, point in enumerate(value)):
        raise ConfigError(f"{where}.{key} = {shown(value)}: a value stands twice; remove one")
    return list(value)


def _validate(model: type[M], chosen: dict[str, Any], where: str, own: dict[str, Any]) -> M:
    """Validate `chosen` as a `model`. A problem that no key of the method causes is reported for `train`."""
    try:
        return model.model_validate(chosen)
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            keys = set(detail["loc"][:1]) or set(model.model_fields)
            shared = model is Train and keys.isdisjoint(own)
            problems.append(line(detail, model, "train" if shared else where))
        raise ConfigError("\n".join(problems)) from None


def _check_switch(where: str, method: Optimizer, train: Train) -> None:
    t_switch = getattr(method, "t_switch", None)
    if t_switch is not None and train.epochs is not None and t_switch >= train.epochs:
        allowed = f"allowed: 1 to {train.epochs - 1}" if train.epochs > 1 else "give it at least 2 epochs"
        raise ConfigError(
            f"{where}.t_switch = {t_switch}: the run has {train.epochs} epochs, so the switch never comes; "
            f"{allowed}"
        )


def _reject_duplicates(runs: list[Run]) -> None:
    seen: dict[str, Run] = {}
    problems = []
    for run in runs:
        first = seen.setdefault(run.spec, run)
        if first is not run:
            problems.append(
                f"methods.{run.cell.method}: the run {run.cell.label!r} on {run.cell.dataset}, seed "
                f"{run.config.seed}, is the same as {first.cell.label!r} on {first.cell.dataset}; remove one"
            )
    if problems:
        raise ConfigError(problems[0])


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
