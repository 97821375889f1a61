"""Expansion of the grid, and the changes of a configuration that do and do not change a run's id."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign import identity
from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.identity import parse_run
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.config.data import Dataset
from sign_ablate.config.methods import OPTIMIZERS
from sign_ablate.config.train import Train

GOLDEN = Path(__file__).parents[1] / "golden"


def ids(config: dict[str, Any]) -> set[str]:
    return {run.id for run in expand(parse_campaign(config))}


def test_grid_is_methods_with_their_own_axes_times_data_times_seeds(tiny: dict[str, Any]) -> None:
    runs = expand(parse_campaign(tiny))
    labels = [run.cell.label for run in runs if run.config.seed == 0]
    assert labels == [
        "sgd",
        "adam",
        "signsgd",
        "signsgd-m",
        "pre-dither alpha=0.01",
        "pre-dither alpha=0.1",
        "post-dither",
        "hybrid",
        "dithered-hybrid",
        "naive-switch",
    ]
    assert len(runs) == 2 * len(labels)
    assert len({run.id for run in runs}) == len(runs)


def test_any_training_parameter_is_an_axis_for_any_method(tiny: dict[str, Any]) -> None:
    tiny["methods"] = {
        "sgd": {"optimizer": "sgd", "lr": [0.1, 0.2], "batch_size": [16, 32], "epochs": [2, 3]}
    }
    tiny["figures"] = {}
    runs = expand(parse_campaign(tiny))
    points = {(r.config.method.lr, r.config.train.batch_size, r.config.train.epochs) for r in runs}
    assert points == set(itertools.product([0.1, 0.2], [16, 32], [2, 3]))
    assert len(runs) == 8 * 2


def test_shared_axis_applies_to_every_method(tiny: dict[str, Any]) -> None:
    single = len(expand(parse_campaign(tiny)))
    tiny["train"]["batch_size"] = [16, 32]
    assert len(expand(parse_campaign(tiny))) == 2 * single


def test_list_of_lists_is_an_axis_of_lists(tiny: dict[str, Any]) -> None:
    tiny["train"] |= {"schedule": "multistep", "milestones": [1, 2]}
    assert {r.config.train.milestones for r in expand(parse_campaign(tiny))} == {(1, 2)}
    tiny["train"]["milestones"] = [[1], [1, 2]]
    assert {r.config.train.milestones for r in expand(parse_campaign(tiny))} == {(1,), (1, 2)}


def test_own_steps_replace_shared_epochs(tiny: dict[str, Any]) -> None:
    tiny["methods"]["sgd"]["steps"] = 5
    run = next(r for r in expand(parse_campaign(tiny)) if r.cell.method == "sgd")
    assert (run.config.train.epochs, run.config.train.steps) == (None, 5)


def test_changed_value_changes_only_its_own_runs(tiny: dict[str, Any]) -> None:
    before = ids(tiny)
    tiny["methods"]["pre-dither"]["alpha"] = [0.02, 0.1]
    after = ids(tiny)
    assert {i.split(".")[1] for i in before ^ after} == {"dithered"}
    assert len(before - after) == len(after - before) == 2  # one α, two seeds
    tiny["methods"]["pre-dither"]["alpha"] = [0.01, 0.1]
    assert ids(tiny) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["execution"].update(device="cuda", threads=4),
        lambda c: c["figures"].clear(),
        lambda c: c["train"].update(batch_size=32, flip=False),  # writes a default explicitly
        lambda c: c["methods"]["adam"].update(beta1=0.9),
        lambda c: c.update(methods=dict(reversed(c["methods"].items()))),
    ],
    ids=["execution", "figures", "default written out", "default of an optimizer", "order"],
)
def test_what_is_not_a_run_leaves_its_id(change: Any, tiny: dict[str, Any]) -> None:
    before = ids(tiny)
    change(tiny)
    assert ids(tiny) == before


def test_integer_and_float_of_one_value_are_one_run(tiny: dict[str, Any]) -> None:
    tiny["methods"]["sgd"] = {"optimizer": "sgd", "lr": 1}
    one = ids(tiny)
    tiny["methods"]["sgd"] = {"optimizer": "sgd", "lr": 1.0}
    assert ids(tiny) == one


def test_numerics_version_is_part_of_every_id(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(tiny)
    monkeypatch.setattr(identity, "NUMERICS_VERSION", identity.NUMERICS_VERSION + 1)
    assert not before & ids(tiny)


def test_spec_round_trips(tiny: dict[str, Any]) -> None:
    for run in expand(parse_campaign(tiny)):
        assert parse_run(run.spec) == run.config


def test_spec_of_another_version_is_refused(tiny: dict[str, Any]) -> None:
    spec = json.loads(expand(parse_campaign(tiny))[0].spec)
    with pytest.raises(ConfigError, match="the spec is of version 0"):
        parse_run(json.dumps({**spec, "numerics": 0}))


def _defaults() -> dict[str, dict[str, Any]]:
    """All defaults that an id leaves out."""
    models = [Train, *OPTIMIZERS.values(), *Dataset.__subclasses__()]
    return {
        model.__name__: {
            name: json.loads(json.dumps(field.default))
            for name, field in model.model_fields.items()
            if not field.is_required()
        }
        for model in models
    }


def test_changed_default_needs_a_new_numerics_version() -> None:
    """Ids leave defaults out, so a changed default would reuse the results of the old default."""
    golden = json.loads((GOLDEN / "defaults.json").read_text())
    assert golden["numerics"] == identity.NUMERICS_VERSION, "run: python -m tests.golden.update"
    now = _defaults()
    for model, defaults in golden["defaults"].items():
        kept = {name: now.get(model, {}).get(name, "removed") for name in defaults}
        assert kept == defaults, f"{model}: bump NUMERICS_VERSION, then run python -m tests.golden.update"
