"""Made-up tables of a campaign with accuracies that a test chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.model import Claims, parse
from sign_ablate.config import parse_campaign

#: accuracies in percent by seed, None for a run that diverged; or a curve for each seed
Arms = Mapping[str, Sequence[float | None] | Sequence[Sequence[float]]]


def campaign(labels: Sequence[str], seeds: int, **changes: Any) -> dict[str, Any]:
    """A tuned campaign in the paper's setting on CIFAR-10, unless changed, with the methods of the labels."""
    methods = {label.split(" ")[0]: {"optimizer": "sgd", "lr": 0.1 + i} for i, label in enumerate(labels)}
    values = {
        "campaign": "test",
        "seeds": list(range(seeds)),
        "datasets": {"cifar10": {"source": "cifar10"}},
        "train": {"model": "resnet18", "epochs": 50},
        "methods": methods,
    }
    return {**values, **changes}


def evidence(arms: Arms, more: Mapping[str, Any] | None = None, **changes: Any) -> Evidence:
    """Evidence of one data set, cifar10 unless `changes` to the campaign name another.

    Args:
        arms: label of a cell → its runs.
        more: further fields of Evidence. Cells without a choice in `tuned` have one that changes nothing.
        **changes: keys of the campaign.
    """
    values = campaign(list(arms), len(next(iter(arms.values()))), **changes)
    runs, epochs = [], []
    for dataset in values["datasets"]:
        for label, seeds in arms.items():
            for seed, of_run in enumerate(seeds):
                curve = [of_run] if of_run is None or isinstance(of_run, int | float) else list(of_run)
                key = {"run": f"{dataset}/{label}/{seed}", "dataset": dataset, "label": label, "seed": seed}
                final = curve[-1]
                runs.append(
                    {
                        **key,
                        "status": "diverged" if final is None else "finished",
                        "final_test_acc": np.nan if final is None else final / 100,
                        "epochs": len(curve),
                        "alpha": float(label.split("alpha=")[1]) if "alpha=" in label else np.nan,
                        "t_switch": 2.0 if "hybrid" in label else np.nan,
                    }
                )
                epochs += [
                    {**key, "epoch": i, "test_acc": acc / 100}
                    for i, acc in enumerate(curve, 1)
                    if acc is not None
                ]
    more = {"tuned": {}, **(more or {})}
    choices = {
        label: {"val_acc": _mean(seeds), "at_edge": [], "trials": [], "values": {}}
        for label, seeds in arms.items()
    }
    more["tuned"] = {name: choices | more["tuned"].get(name, {}) for name in values["datasets"]}
    columns = ["run", "dataset", "label", "seed", "epoch", "test_acc"]
    return Evidence(parse_campaign(values), pd.DataFrame(runs), pd.DataFrame(epochs, columns=columns), **more)


def _mean(seeds: Sequence[Any]) -> float:
    """Mean accuracy of the last epoch of the seeds that did not diverge, as a fraction."""
    finals = [of_run if of_run is None or isinstance(of_run, int | float) else of_run[-1] for of_run in seeds]
    finished = [final / 100 for final in finals if final is not None]
    return float(np.mean(finished)) if finished else 0.0


ARMS = """
  sgd: {any: [sgd]}
  clean: {any: [signsgd-m]}
  dither: {literal: [pre-dither alpha=0.1], summed: [pre-dither-sum alpha=0.1]}
  hybrid: {any: [hybrid, hybrid t_switch=5]}
  post-0.01: {any: [post-dither alpha=0.01]}
  post-0.1: {any: [post-dither alpha=0.1]}
  post-0.5: {any: [post-dither alpha=0.5]}
  both: {literal: [dithered-hybrid alpha=0.1]}
"""


def claims_of(test: str, **changes: str) -> Claims:
    """A claims.yaml with one claim, `it`, and its `test` in YAML."""
    keys = {"title": "A claim", "place": "Fig. 1", "family": "Figure 1", "scope": "paper", **changes}
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return parse(
        "settings: {cifar10: {model: resnet18, epochs: 50}, cifar100: {model: resnet18, epochs: 200}}\n"
        "readings: {literal: one, summed: another}\n"
        f"arms:{ARMS}"
        "margins: {one: {cifar100: 2, other: 1}, share: {other: 0.1}}\n"
        f"claims:\n  it:\n{lines}    test: {test}\n"
    )
