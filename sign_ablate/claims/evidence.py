"""Evidence of a campaign: its tables, and quantities of its runs by cell and seed."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sign_ablate.analysis import schemas
from sign_ablate.analysis.table import read_campaign
from sign_ablate.campaign.cells import merged_options
from sign_ablate.claims.contrasts import Statistic
from sign_ablate.claims.statistics import LOOKS
from sign_ablate.config.campaign import Campaign
from sign_ablate.tuning.choice import evaluated

#: seed → value. None for a run that diverged and has no value.
Values = dict[int, float | None]
#: share of the epochs, from the end, over which `roughness` is taken: the first ones rise in all runs
ROUGHNESS_PART = 0.5


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Tables of a campaign that claims are tested on.

    Attributes:
        campaign: the campaign.
        runs: rows of runs.parquet.
        epochs: rows of epochs.parquet.
        predictions: rows of predictions.parquet, or None.
        probes: rows of probes.parquet, or None for a campaign without probes.
        tuned: data set → label of a cell → choice, as in tuned.json, of the choices that the campaign is
            evaluated with. Empty without tuning.
        theory: claim → row of the theory lab's claims.parquet. Empty if the lab has not run.
        measurements: quantity → row of measurements.parquet. Empty if nothing was measured.
    """

    campaign: Campaign
    runs: pd.DataFrame
    epochs: pd.DataFrame
    predictions: pd.DataFrame | None = None
    tuned: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    theory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measurements: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    probes: pd.DataFrame | None = None

    def first_look(self) -> "Evidence | None":
        """The evidence of the first look, if the campaign has the seeds of a later one."""
        first = LOOKS[0]
        if len(self.campaign.seeds) <= first:
            return None
        seeds = self.campaign.seeds[:first]
        probes = None if self.probes is None else self.probes[self.probes["seed"].isin(seeds)]
        return dataclasses.replace(
            self,
            campaign=self.campaign.model_copy(update={"seeds": seeds}),
            runs=self.runs[self.runs["seed"].isin(seeds)],
            probes=probes,
        )

    def cell(self, dataset: str, labels: Sequence[str]) -> str | None:
        """The first of `labels` that has a run on a data set, or None."""
        return next((label for label in labels if (dataset, label) in self._cells), None)

    @cached_property
    def _cells(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Rows of runs.parquet by data set and label."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        rows: Any = self.runs.to_dict("records")
        for row in rows:
            found.setdefault((row["dataset"], row["label"]), []).append(row)
        return found

    @cached_property
    def _curves(self) -> dict[str, np.ndarray]:
        """Test accuracy per epoch of each run."""
        return {str(run): rows.to_numpy() for run, rows in self.epochs.groupby("run")["test_acc"]}

    def values(self, dataset: str, label: str, statistic: Statistic, **options: Any) -> Values:
        """A statistic of each run of a cell.

        Args:
            dataset: label of the data set.
            label: label of the cell.
            statistic: accuracy: test accuracy of the last epoch in percent. roughness: standard deviation of
                its change from epoch to epoch in points, over the second half of the run. first-passage:
                epochs below `threshold` (a fraction) before it is first reached; all epochs if it never is.
                hand-off: minimum over `epochs` epochs after T_switch minus the value before, in points.
                probe: lowest value of `quantity` over the probes of a run for `side` above, else the highest.
            **options: `threshold`; `epochs`; or `quantity`, `over` and `side` of a probe.
        """
        if statistic == "probe":
            return self._probed(dataset, label, **options)
        found: Values = {}
        for row in self._cells[dataset, label]:
            finished = row["status"] == "finished"
            if statistic == "accuracy":
                found[row["seed"]] = 100 * row["final_test_acc"] if finished else None
                continue
            curve = self._curves.get(row["run"], np.empty(0))
            if statistic == "first-passage":
                # what a run did before it diverged counts
                found[row["seed"]] = _first_passage(curve, options["threshold"], self.horizon(dataset, label))
            elif not finished:
                found[row["seed"]] = None
            elif statistic == "roughness":
                found[row["seed"]] = _roughness(curve)
            else:
                found[row["seed"]] = _hand_off(curve, int(row["t_switch"]), options["epochs"])
        return found

    def _probed(self, dataset: str, label: str, quantity: str, over: str | None, side: str) -> Values:
        if self.probes is None:
            return {}
        of_cell = (self.probes["dataset"] == dataset) & (self.probes["label"] == label)
        table = self.probes[of_cell].pivot(index=["seed", "step"], columns="quantity", values="value")
        if not {quantity, over} - {None} <= set(table.columns):
            return {}
        values = (table[quantity] / table[over] if over else table[quantity]).dropna().groupby("seed")
        found = values.min() if side == "above" else values.max()
        return dict(zip(found.index.tolist(), found.tolist(), strict=True))

    def horizon(self, dataset: str, label: str) -> int:
        """Epochs of a cell's longest run."""
        return max(int(row["epochs"]) for row in self._cells[dataset, label])

    def seeds(self, dataset: str, label: str) -> set[int]:
        """Seeds of a cell's runs, finished or diverged."""
        return {row["seed"] for row in self._cells[dataset, label]}

    def option(self, dataset: str, label: str, name: str) -> float | None:
        """A column of a cell in runs.parquet, such as alpha. None if the cell has no such option."""
        value = self._cells[dataset, label][0][name]
        return None if pd.isna(value) else float(value)

    def reached(self, dataset: str, label: str) -> float | None:
        """Accuracy of a cell as a fraction: on validation images in tuning, else its mean on the test set."""
        choice = self.tuned.get(dataset, {}).get(label)
        if choice and choice["val_acc"] is not None:
            return float(choice["val_acc"])
        finished = [
            row["final_test_acc"] for row in self._cells[dataset, label] if row["status"] == "finished"
        ]
        return float(np.mean(finished)) if finished else None

    def correct(self, dataset: str, label: str, seeds: Sequence[int]) -> np.ndarray | None:
        """Correctness of each test image (seeds, images), or None if a run has no predictions."""
        if self.predictions is None:
            return None
        of_cell = (self.predictions["dataset"] == dataset) & (self.predictions["label"] == label)
        found: Any = self.predictions[of_cell].to_dict("records")
        rows = {row["seed"]: row for row in found}
        if any(seed not in rows or rows[seed]["correct"] is None for seed in seeds):
            return None
        packed = [(np.frombuffer(rows[seed]["correct"], np.uint8), rows[seed]["images"]) for seed in seeds]
        return np.array([np.unpackbits(bits, count=int(images)) for bits, images in packed], bool)

    def choice(self, dataset: str, label: str) -> Mapping[str, Any] | None:
        """Choice of tuned.json for a cell, or for its `tuned_as` cell. None for a cell that is not tuned."""
        found: Mapping[str, Any] | None = self.tuned.get(dataset, {}).get(self._source(label))
        return found

    def unconverged(self, dataset: str, label: str) -> str | None:
        """The cell whose choice a cell takes, if all of its trials diverged. None otherwise."""
        source = self._source(label)
        return source if self.campaign.tuned.get(dataset, {}).get(source, ()) is None else None

    def _source(self, label: str) -> str:
        """The cell whose choice a cell takes: that of `tuned_as`, or the cell itself."""
        source: str = self.campaign.methods.get(label.split(" ", maxsplit=1)[0], {}).get("tuned_as", label)
        return source

    def at_edge(self, dataset: str, label: str) -> tuple[str, ...]:
        """Tuned options of a cell, or of its `tuned_as` cell, with a value at the edge of the range."""
        choice = self.choice(dataset, label)
        return tuple(choice["at_edge"]) if choice else ()

    def setting(self, dataset: str, label: str) -> tuple[Any, Any, bool]:
        """Network and epochs of a cell, and True if it is trained and tested on all images of its data set.

        The epochs are None for a length in steps.
        """
        own = self.campaign.methods.get(label.split(" ", maxsplit=1)[0], {})
        options = merged_options(self.campaign.train, own)
        data = self.campaign.datasets[dataset]
        whole = data.subset is None and data.test_subset is None and not data.val
        return options.get("model", "small"), options.get("epochs"), whole


def load(
    folder: Path, tuned: Path | None = None, theory: Path | None = None, measurements: Path | None = None
) -> Evidence:
    """Load the tables of a campaign.

    Args:
        folder: folder of the campaign's tables, or of its partial ones.
        tuned: tuned.json of the campaign. It may be missing.
        theory: claims.parquet of the theory lab. It may be missing.
        measurements: measurements.parquet of the benchmarks. It may be missing.

    Raises:
        DamagedError: if campaign.json is not as `aggregate` wrote it.
        ConfigError: if tuned.json cannot be used.
        OSError: if a table cannot be read.
    """
    campaign = read_campaign(folder)
    return Evidence(
        campaign,
        pd.read_parquet(folder / schemas.RUNS),
        pd.read_parquet(folder / schemas.EPOCHS),
        _table(folder / schemas.PREDICTIONS),
        _choices(tuned, campaign) if tuned else {},
        _by(_table(theory) if theory else None, "claim"),
        _by(_table(measurements) if measurements else None, "quantity"),
        _table(folder / schemas.PROBES),
    )


def _table(path: Path) -> pd.DataFrame | None:
    return pd.read_parquet(path) if path.exists() else None


def _choices(tuned: Path, campaign: Campaign) -> dict[str, dict[str, Any]]:
    found = {
        dataset: {label: choice.model_dump(mode="json") for label, choice in choices.items()}
        for dataset, choices in evaluated(tuned, campaign).items()
    }
    return {dataset: choices for dataset, choices in found.items() if choices}


def _by(frame: pd.DataFrame | None, key: str) -> dict[str, Any]:
    return {} if frame is None else {str(row[key]): row for row in frame.to_dict("records")}


def _roughness(curve: np.ndarray) -> float:
    late = np.diff(curve)[int(len(curve) * (1 - ROUGHNESS_PART)) :]
    return float(100 * late.std(ddof=1))


def _first_passage(curve: np.ndarray, threshold: float, horizon: int) -> float:
    reached = np.flatnonzero(curve >= threshold)
    return float(reached[0] if len(reached) else horizon)


def _hand_off(curve: np.ndarray, switch: int, epochs: int) -> float:
    return float(100 * (curve[switch : switch + epochs].min() - curve[switch - 1]))
