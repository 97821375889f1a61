"""The searches of a campaign: their trials, as runs, and the choices that are still missing."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Any

from sign_ablate.campaign.cells import templates
from sign_ablate.campaign.grid import Cell, Run, expand
from sign_ablate.campaign.identity import identity, short_hash
from sign_ablate.campaign.template import Template
from sign_ablate.config.base import canonical
from sign_ablate.config.campaign import Campaign, RunConfig
from sign_ablate.config.data import DatasetSpec
from sign_ablate.config.tuning import Tuning
from sign_ablate.tuning.design import points


@dataclasses.dataclass(frozen=True)
class Search:
    """The search for a cell's values on one data set."""

    dataset: str
    template: Template
    tuning: Tuning
    #: the data set with its validation split
    data: DatasetSpec

    @property
    def label(self) -> str:
        """Label of the cell."""
        return self.template.label

    @property
    def hash(self) -> str:
        """Hash of the search: its ranges, its number of trials, and everything that its trials share."""
        shared = identity(self._config(self.template.placeholder()))
        ranges = [[key, *bounds] for key, bounds in self.template.space.items()]
        return short_hash(canonical([shared, ranges, self.tuning.trials]))

    def runs(self) -> list[Run]:
        """The trials."""
        return [self.run(index, values) for index, values in enumerate(self.values())]

    def run(self, index: int, values: dict[str, float]) -> Run:
        """The trial of given values."""
        cell = Cell(self.dataset, self.template.method, self.template.axes)
        return Run(cell, self._config(values), trial=index)

    def values(self) -> list[dict[str, float]]:
        """Values of each trial."""
        return points(self.template.space, self.tuning.trials)

    def _config(self, values: dict[str, float]) -> RunConfig:
        method, train = self.template.options(values)
        train = train.model_copy(update={"probe": ()})  # probes do not affect the choice
        return RunConfig.model_construct(
            data=self.data.without_location(), method=typing.cast(Any, method), train=train,
            seed=self.tuning.seed, evaluate="val",
        )  # fmt: skip


def searches(campaign: Campaign) -> list[Search]:
    """All searches of a campaign, in its order. Empty if it tunes nothing."""
    return list(_searches(campaign))


def _searches(campaign: Campaign) -> Iterator[Search]:
    if campaign.tuning is None:
        return
    tuned = [template for template in templates(campaign) if template.is_tuned]
    data = datasets(campaign)
    for name in campaign.datasets:
        for template in tuned:
            yield Search(name, template, campaign.tuning, data[name])


def datasets(campaign: Campaign) -> dict[str, DatasetSpec]:
    """The data sets of the trials: those of the campaign with `tuning.val` images held out."""
    if campaign.tuning is None:
        return {}
    held_out = {"val": campaign.tuning.val}
    return {name: spec.model_copy(update=held_out) for name, spec in campaign.datasets.items()}


def pending(campaign: Campaign) -> list[Search]:
    """The searches whose choice is not known: stage 1 of the campaign."""
    return [s for s in searches(campaign) if s.label not in campaign.tuned.get(s.dataset, {})]


def repeated(campaign: Campaign) -> Iterator[str]:
    """Yield a line for each search with equal trials, since values have three significant digits."""
    for search in pending(campaign):
        trials = search.tuning.trials
        values = math.prod(1 + 900 * math.log10(high / low) for low, high in search.template.space.values())
        if values > 100 * trials:
            continue  # the points, which need scipy, are not computed on every start
        different = len({tuple(point.values()) for point in search.values()})
        if different < trials:
            yield (
                f"tuning.spaces.{search.template.method}: {different} of {trials} trials differ, since "
                "values have three significant digits; widen a range, or lower tuning.trials"
            )


def runs_of_stage(campaign: Campaign) -> list[Run]:
    """Runs of the present stage: the trials of searches without a choice, or else the evaluation's runs."""
    stage = [run for search in pending(campaign) for run in search.runs()]
    return stage or expand(campaign)


def unchosen(campaign: Campaign) -> list[tuple[Run, frozenset[str]]]:
    """Runs of the evaluation without a choice, with placeholder values, and the keys that the choice sets."""
    keys = {template.label: frozenset(template.space) for template in templates(campaign)}
    known = {run.id for run in expand(campaign)}
    runs = expand(campaign, placeholders=True)
    return [(run, keys[run.cell.label]) for run in runs if run.id not in known]


def all_runs(campaign: Campaign) -> list[Run]:
    """Runs of a campaign that are known: those of its evaluation, and all trials."""
    return [*expand(campaign), *(run for search in searches(campaign) for run in search.runs())]
