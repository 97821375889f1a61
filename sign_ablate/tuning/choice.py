"""Choice of the best trial, and the file of the choices (`tuned.json`)."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sign_ablate.campaign.cells import templates
from sign_ablate.campaign.template import Template
from sign_ablate.config.campaign import Campaign, Tuned
from sign_ablate.config.errors import ConfigError, line, shown
from sign_ablate.config.tuning import Choice, Trial, best_of
from sign_ablate.files import replacing
from sign_ablate.jobs import file_lock
from sign_ablate.store import layout
from sign_ablate.tuning.search import Search, pending, searches

#: data set → label of a cell → choice
Choices = dict[str, dict[str, Choice]]
_FILE: TypeAdapter[Choices] = TypeAdapter(Choices)
#: width of the edge of a range, as a fraction of its logarithm
EDGE = 0.1


def file_of(campaign: Campaign, results: Path) -> Path:
    """File of a campaign's choices."""
    given = campaign.tuning.file if campaign.tuning else None
    return Path(given) if given else layout.tuned_file(results, campaign.campaign)


def read(path: Path) -> Choices:
    """Read a file of choices. Empty if it does not exist. Raises ConfigError if it cannot be used."""
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give tuning.file the path of a file of choices"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        json_error = first["type"] == "json_invalid"
        raise _edited(path, first["ctx"]["error"] if json_error else line(first, Choices)) from None


def _edited(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"{path}: not as snakemake tune wrote it: {problem}; restore it, or delete it and run snakemake "
        "tune (values of your own belong in the methods, without tuning)"
    )


def with_choices(campaign: Campaign, results: Path) -> Campaign:
    """Copy of a campaign with the choices of its file that were made in its present searches.

    Raises ConfigError if the file cannot be used, or contradicts a search.
    """
    path = file_of(campaign, results)
    known = read(path)
    tuned: Tuned = {}
    for search in searches(campaign):
        choice = known.get(search.dataset, {}).get(search.label)
        if choice is not None and choice.search == search.hash:
            _check(
                path, search.dataset, search.template, "ranges", choice.ranges, dict(search.template.space)
            )
            _check_trials(path, search, choice)
            _check_edges(path, search.dataset, search.template, choice)
            tuned.setdefault(search.dataset, {})[search.label] = choice.values
    return campaign.model_copy(update={"tuned": tuned})


def evaluated(path: Path, campaign: Campaign) -> Choices:
    """The choices of a file that a campaign is evaluated with, which may be fewer than it has.

    Every data set of the campaign has an entry. Raises ConfigError if the file cannot be used.
    """
    known = read(path)
    return {
        dataset: {
            label: choice
            for label, choice in known.get(dataset, {}).items()
            if label in campaign.tuned.get(dataset, {}) and choice.values == campaign.tuned[dataset][label]
        }
        for dataset in campaign.datasets
    }


def check_evaluated(path: Path, campaign: Campaign) -> None:
    """Check that a file has the choices that a campaign was evaluated with, without its search spaces.

    Raises ConfigError if it cannot be used, or contradicts the campaign.
    """
    known = read(path)
    for template in templates(campaign):
        for dataset, values in campaign.tuned.items():
            if template.is_tuned and template.label in values:
                choice = known.get(dataset, {}).get(template.label)
                chosen = choice.values if choice else None
                _check(path, dataset, template, "values", chosen, values[template.label])
                if choice:
                    searched = dataclasses.replace(template, space=choice.ranges)
                    _check_edges(path, dataset, searched, choice)


def _check_edges(path: Path, dataset: str, template: Template, choice: Choice) -> None:
    right = edges(template, choice.values) if choice.values else ()
    _check(path, dataset, template, "at_edge", choice.at_edge, right)


def _check_trials(path: Path, search: Search, choice: Choice) -> None:
    """Check the number of trials, and the values of each by the id of its run, which has their hash."""
    where, space, trials = f"{search.dataset}.{search.label}.trials", search.template.space, choice.trials
    if len(trials) != search.tuning.trials:
        raise _edited(path, f"{where}: {len(trials)} of them; must be {search.tuning.trials}")
    for index, trial in enumerate(trials):
        inside = trial.values.keys() == space.keys() and all(
            low <= trial.values[key] <= high for key, (low, high) in space.items()
        )
        if not inside or trial.run != search.run(index, trial.values).id:
            problem = f"{where}.{index}.values = {shown(trial.values)}: not those of its run, {trial.run}"
            raise _edited(path, problem)


def _check(path: Path, dataset: str, template: Template, key: str, found: Any, right: Any) -> None:
    if found != right:
        where = f"{dataset}.{template.label}.{key} = {shown(found)}"
        raise _edited(path, f"{where}: must be {shown(right)}, as its search gave")


def missing(campaign: Campaign, results: Path) -> str:
    """Clause on the cells without a choice, and on those whose choice in the file is stale; empty if none."""
    known = read(file_of(campaign, results)) if pending(campaign) else {}
    new, stale = dict[str, None](), dict[str, None]()
    for search in pending(campaign):
        (stale if search.label in known.get(search.dataset, {}) else new)[search.label] = None
    parts = [f"no choice yet for {', '.join(new)}"] if new else []
    if stale:
        parts.append(f"stale choice for {', '.join(stale)}: of a search with other ranges, trials or options")
    return "; ".join(parts)


def choose(campaign: Campaign, results: Path) -> Path:
    """Choose the best trial of each search that has no choice yet, and add it to the file of choices.

    Choices of other cells stay as they are. The file is left alone if nothing changes. Where all trials
    diverged, the choice has no values, and the evaluation leaves the cell out.

    Returns:
        The file.

    Raises:
        ConfigError: if the file cannot be used.
        DamagedError: if a trial is damaged.
        OSError: if a trial is missing, or the file cannot be written.
    """
    path = file_of(campaign, results)
    lock = path.with_name(f".{path.name}.lock")
    # another campaign with the same tuning.file may be choosing at this moment
    with file_lock.lock(lock, f"{path}: waiting for another choice"):
        try:
            _add(campaign, results, path)
        finally:
            lock.unlink()
    return path


def _add(campaign: Campaign, results: Path, path: Path) -> None:
    """Add the choices of a campaign to a file."""
    found = read(path)
    for search in pending(campaign):
        choice = _best(search, results)
        found.setdefault(search.dataset, {})[search.label] = choice
    write(path, found)


def write(path: Path, choices: Choices) -> None:
    """Write a file of choices. It is left alone if nothing changes. Raises OSError."""
    text = json.dumps(_FILE.dump_python(choices, mode="json"), indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _best(search: Search, results: Path) -> Choice:
    trials = [
        Trial(values=values, run=run.id, val_acc=_val_acc(layout.run_folder(results, run.id)))
        for run, values in zip(search.runs(), search.values(), strict=True)
    ]
    best = best_of(trials)
    return Choice(
        search=search.hash,
        values=best.values if best else None,
        val_acc=best.val_acc if best else None,
        at_edge=edges(search.template, best.values) if best else (),
        ranges=dict(search.template.space),
        trials=tuple(trials),
    )


def _val_acc(folder: Path) -> float | None:
    from sign_ablate.store import reading  # imports pyarrow, which reading the choices does not need

    table = reading.metrics(folder)
    finished = (table.schema.metadata or {})[b"status"] == b"finished"
    return reading.last(table, "val_acc") if finished else None


def edges(template: Template, values: dict[str, float]) -> tuple[str, ...]:
    """Keys whose value is in the outer tenth of its range, so that a better one may be outside.

    The lower end of a key with default 0, such as `weight_decay`, does not count: values below it are close
    to 0.
    """
    fields = template.model.model_fields
    found = []
    for key, (low, high) in template.space.items():
        position = math.log(values[key] / low) / math.log(high / low)
        near_zero = key in fields and fields[key].default == 0
        if position > 1 - EDGE or (position < EDGE and not near_zero):
            found.append(key)
    return tuple(found)


def expected_best(scores: Sequence[float | None], budget: int) -> float | None:
    """Expected best score of `budget` trials drawn without replacement from those that were made.

    Exact: with the scores in rising order s₁ ≤ … ≤ s_N, the expectation is Σᵢ sᵢ·C(i−1, b−1)/C(N, b).

    Args:
        scores: score of each trial. None, for a trial that diverged, counts as 0.
        budget: number of trials b, from 1 to N.
    """
    if not scores:
        return None
    ordered = sorted(score or 0.0 for score in scores)
    total = math.comb(len(ordered), budget)
    return math.fsum(s * math.comb(i, budget - 1) for i, s in enumerate(ordered)) / total
