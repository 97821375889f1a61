"""Claims on single steps, from probes: made-up ones, and those of a tiny campaign that was trained."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sign_ablate.analysis import probes
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.claims import evidence as tables
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.ledger import Row, ledger
from sign_ablate.claims.model import load
from sign_ablate.claims.quantities import Probe
from sign_ablate.config import parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.jobs import training
from sign_ablate.store.layout import run_folder
from tests.claims.conftest import claims_of, evidence
from tests.conftest import TINY

#: rms(m)/σ_k at three probes of each of three seeds
MATCHED = [[0.5, 0.3, 0.2], [0.5, 0.31, 0.21], [0.5, 0.32, 0.22]]


def stated(side: str, **more: str) -> str:
    keys = {
        "comparison": "probe",
        "arm": "clean",
        "quantity": "lambda",
        "side": side,
        "margin": "share",
        **more,
    }
    return "{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}"


def probed(values: Sequence[Sequence[float | None]], second: float = 1.0, **changes: Any) -> Evidence:
    """Evidence of SignSGD-M with λ at each probe, by seed, and `second` as that of its null model."""
    found = evidence({"signsgd-m": [90.0] * len(values)}, **changes)
    rows = [
        ("cifar10", "signsgd-m", seed, step, quantity, of)
        for seed, steps in enumerate(values)
        for step, value in enumerate(steps)
        for quantity, of in (("lambda", value), ("lambda_null", second))
    ]
    columns = ["dataset", "label", "seed", "step", "quantity", "value"]
    return dataclasses.replace(found, probes=pd.DataFrame(rows, columns=columns))


def one(test: str, found: Evidence) -> Row:
    (row,) = ledger(claims_of(test, scope="step-level"), found)
    return row


@pytest.mark.parametrize(
    ("side", "values", "verdict", "effect"),
    [
        ("above", MATCHED, "supported", 0.21),  # the lowest of each seed
        ("below", MATCHED, "refuted", 0.5),  # the highest
        ("above", [[0.01], [0.02], [0.015]], "refuted", 0.015),
        ("below", [[0.01, None], [0.02, None], [0.015, None]], "supported", 0.015),
        ("above", [[0.01], [0.3], [0.2]], "unresolved", 0.17),
    ],
)
def test_limit_must_hold_at_every_probe(
    side: str, values: list[list[float | None]], verdict: str, effect: float
) -> None:
    row = one(stated(side), probed(values))
    assert row.outcome.effect is not None
    assert (row.verdict, row.outcome.effect.mean) == (verdict, pytest.approx(effect))
    assert row.outcome.arms == "λ_k: signsgd-m"


def test_quantity_in_units_of_another() -> None:
    row = one(stated("above", over="lambda_null"), probed([[10.0], [11.0], [12.0]], second=20.0))
    assert (row.verdict, row.outcome.arms) == ("supported", "λ_k / λ_k of noise alone: signsgd-m")
    assert row.outcome.effect is not None
    assert row.outcome.effect.mean == pytest.approx(0.55)


def test_other_cause_leaves_a_claim_unresolved_and_never_refuted() -> None:
    beyond = probed([[0.3], [0.31], [0.32]])
    row = one(stated("below", doubt="heavy tails"), beyond)
    assert (row.verdict, row.outcome.reason) == (
        "unresolved",
        "beyond the limit, which heavy tails would explain, too",
    )
    assert one(stated("above", doubt="heavy tails"), beyond).verdict == "supported"


def test_steps_of_another_network_and_a_campaign_without_probes_decide_nothing() -> None:
    small = one(stated("above"), probed(MATCHED, train={"model": "small", "epochs": 3}))
    assert (small.verdict, small.outcome.verdict, small.proxy) == (
        "not measured", "supported", "network: small",
    )  # fmt: skip
    short = one(stated("above"), probed(MATCHED, train={"model": "resnet18", "steps": 150}))
    assert (short.verdict, short.proxy) == ("supported", "")  # a step needs no whole run
    none = one(stated("above"), evidence({"signsgd-m": [90.0, 91.0]}))
    assert none.outcome.reason == "no probes in this campaign: train.probe is not set"
    alone = one(stated("above"), probed(MATCHED[:1]))
    assert (alone.verdict, alone.outcome.reason) == ("unresolved", "one seed: no interval")


def test_every_claim_on_steps_can_read_the_probes_of_a_campaign(tmp_path: Path) -> None:
    """With the methods of the preset `steps`."""
    methods = {"signsgd-m": {"optimizer": "signsgd-m", "lr": 0.002}}
    dither = {"optimizer": "dithered", "site": "pre", "alpha": [0.1], "lr": 0.002}
    methods |= {"pre-dither": dither, "pre-dither-sum": {**dither, "momentum_form": "heavy_ball"}}
    train = {**TINY["train"], "epochs": 1, "probe": [0, 1]}
    campaign = parse_campaign({**TINY, "seeds": [0], "train": train, "methods": methods, "figures": {}})
    data = tmp_path / "data"
    for run in expand(campaign):
        if not data.exists():
            prepare(run.config.data, data)
        training.train(run.spec, data, run_folder(tmp_path, run.id), device="cpu")
    aggregate(campaign, tmp_path, tmp_path / "tables")
    rows = [
        row for row in ledger(load(), tables.load(tmp_path / "tables")) if isinstance(row.claim.test, Probe)
    ]
    assert len(rows) == 5
    for row in rows:
        assert row.outcome.effect is not None, row.name
        assert (row.outcome.effect.n, row.proxy) == (1, "data: synthetic"), row.name

    drawn = probes.read(tmp_path / "tables")
    assert drawn is not None
    panels = [axes for axes in probes.figure(drawn, "synthetic").axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [panel.name for panel in probes.PANELS]
    labels = {line.get_label(): line for line in panels[1].lines}
    assert {"pre-dither α=0.1", "pre-dither-sum α=0.1"} <= labels.keys()
    ratio = drawn[(drawn["label"] == "pre-dither alpha=0.1") & (drawn["quantity"] == "momentum_over_sigma")]
    assert labels["pre-dither α=0.1"].get_ydata() == pytest.approx(
        ratio.sort_values("step")["value"].to_list()
    )
    assert probes.read(tmp_path) is None
    with pytest.raises(ValueError, match="no probe on 'digits'"):
        probes.figure(drawn, "digits")
