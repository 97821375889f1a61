"""Expansion of a campaign into runs. A run is identified by its resolved configuration."""

import dataclasses
import typing
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sign_ablate.campaign.cells import templates
from sign_ablate.campaign.identity import HASH_CHARS, data_id, identity, short_hash
from sign_ablate.campaign.template import Axes, Template, label_of
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
            it, cells whose values are not known have no runs. A cell whose trials all diverged never has.

    Raises:
        ConfigError: with a line for each problem.
    """
    cells, guesses, found = [], [], templates(campaign)
    for name in campaign.datasets:
        for template in found:
            values = _tuned(campaign, name, template, placeholders)
            if values is not None:
                options = template.options(values) if values else template.untuned
                cells.append((Cell(name, template.method, template.axes), *options))
                guesses.append(
                    None if template.tuned_as in campaign.tuned.get(name, {}) else template.tuned_as
                )
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
    _reject_duplicates(runs[: len(cells)], guesses)
    return runs


def _tuned(
    campaign: Campaign, dataset: str, template: Template, placeholders: bool
) -> Mapping[str, float] | None:
    """Tuned values of a cell on a data set, or None if there are none. Empty if it takes none."""
    known = campaign.tuned.get(dataset, {})
    if template.tuned_as is None:
        return {}
    if template.tuned_as not in known and placeholders:
        return template.placeholder()
    return known.get(template.tuned_as)


def left_out(campaign: Campaign) -> str:
    """Sentences on the cells without runs because no trial of their search converged. Empty if none."""
    found = templates(campaign)
    cells, sources = [], dict[str, None]()
    for dataset, tuned in campaign.tuned.items():
        for template in found:
            if template.tuned_as in tuned and tuned[template.tuned_as] is None:
                cells.append(f"{template.label} on {dataset}")
                sources[template.tuned_as] = None
    if not cells:
        return ""
    spaces = dict.fromkeys(f"tuning.spaces.{source.split(' ')[0]}" for source in sources)
    return (
        f"Left out of the evaluation: {', '.join(cells)}. No trial of {', '.join(sources)} converged: search "
        f"lower values in {', '.join(spaces)}, and call snakemake tune."
    )


def _reject_duplicates(runs: list[Run], guesses: list[str | None]) -> None:
    """Raise ConfigError if two runs are the same.

    Args:
        runs: a run of each cell.
        guesses: for each run, the cell whose search space its placeholders are from. None if it has none.
            Placeholders of two spaces, or of one space and a value that is set, are equal by accident.
    """
    seen: dict[tuple[str, str | None], Run] = {}
    for run, guess in zip(runs, guesses, strict=True):
        first = seen.setdefault((run.spec, guess), run)
        if first is not run:
            raise ConfigError(
                f"methods.{run.cell.method}: the run {run.cell.label!r} on {run.cell.dataset}, seed "
                f"{run.config.seed}, is the same as {first.cell.label!r} on {first.cell.dataset}; remove one"
            )
