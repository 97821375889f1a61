"""Evidence that is read from a campaign's tables and files."""

import json
from pathlib import Path
from typing import Any

from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import expand
from sign_ablate.claims import evidence
from tests.analysis.conftest import curve, make_campaign, write_run

CHOICE: dict[str, Any] = {
    "search": "h",
    "values": {"lr": 0.1},
    "val_acc": 0.72,
    "at_edge": ["lr"],
    "ranges": {"lr": [0.01, 0.1]},
    "trials": [{"values": {"lr": 0.1}, "run": "r", "val_acc": 0.72}],
}


def test_choice_that_the_campaign_does_not_use_is_no_evidence(tmp_path: Path) -> None:
    """A file of choices may be older than the campaign, in which the rate is fixed."""
    tuned = tmp_path / "tuned.json"
    tuned.write_text(json.dumps({"digits": {"sgd": CHOICE, "gone": CHOICE}}))
    methods = {"sgd": {"optimizer": "sgd", "lr": 0.1}}
    for lr, expected in ((0.1, ("lr",)), (0.2, ())):
        values = make_campaign(methods=methods).model_copy(update={"tuned": {"digits": {"sgd": {"lr": lr}}}})
        for run in expand(values):
            write_run(tmp_path, run, curve(0.6, 4))
        aggregate(values, tmp_path, tmp_path / "tables")
        found = evidence.load(tmp_path / "tables", tuned)
        assert found.at_edge("digits", "sgd") == expected
        assert found.reached("digits", "sgd") == (0.72 if expected else 0.6)
        assert found.choice("digits", "gone") is None
