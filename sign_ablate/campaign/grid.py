"""Expansion of a campaign into runs. A run is identified by its resolved configuration."""

import dataclasses
import typing
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sign_ablate.campaign.cells import Axes, Template, label_of, templates
from sign_ablate.campaign.identity import HASH_CHARS, data_id, identity, short_hash
from sign_ablate.config.campaign import Campaign, RunConfig
from sign_ablate.config.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Cell:
    """A method with one value of each of its axes, on one data set. Its runs differ only by seed."""

    #: labels of the data set and the method
    dataset: str
    method: str
    #: (key, value) of each axis: a key that the configuration gives as a list
    axes: Axes

    @property
    def label(self) -> str:
        """Label of the method, followed by the values of its axes."""
        return label_of(self.method, self.axes)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training job."""

    cell: Cell
    config: RunConfig
    #: number of the trial, from 0, for a run of `tuning`; None for a run of the evaluation
    trial: int | None = None

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
        return f"{self.cell.dataset}  {self.cell.label}  {self.which}  {self.id[-HASH_CHARS:]}"

    @property
    def which(self) -> str:
        """The run among those of its cell: its seed, or the number of the trial."""
        return f"seed {self.config.seed}" if self.trial is None else f"trial {self.trial}"

    @cached_property
    def data_id(self) -> str:
        """Name of the data file that the run reads: `source.<hash>`."""
        return data_id(self.config.data)


def expand(campaign: Campaign, *, placeholders: bool = False) -> list[Run]:
    """Return the runs of a campaign's evaluation, ordered by seed.

    Args:
        campaign: the campaign.
        placeholders: fill in the middle of the search space where `tuning` has not chosen values yet. Without
            it, cells whose values are not known have no runs.

    Raises:
        ConfigError: with a line for each problem.
    """
    cells, found = [], templates(campaign)
    for name in campaign.datasets:
        for template in found:
            values = _tuned(campaign, name, template, placeholders)
            if values is not None:
                options = template.options(values) if values else template.untuned
                cells.append((Cell(name, template.method, template.axes), *options))
    data = {name: spec.without_location() for name, spec in campaign.datasets.items()}
    runs = [
        Run(
            cell,
            # model_construct skips the validation: the parts are validated already
            RunConfig.model_construct(
                data=data[cell.dataset], method=typing.cast(Any, method), train=train, seed=seed
            ),
        )
        for seed in campaign.seeds
        for cell, method, train in cells
    ]
    _reject_duplicates(runs)
    return runs


def _tuned(
    campaign: Campaign, dataset: str, template: Template, placeholders: bool
) -> Mapping[str, float] | None:
    """Tuned values of a cell on a data set, or None if they are not known. Empty if it takes none."""
    if template.tuned_as is None:
        return {}
    chosen = campaign.tuned.get(dataset, {}).get(template.tuned_as)
    if chosen is None and placeholders:
        return template.placeholder()
    return chosen


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
