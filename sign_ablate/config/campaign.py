"""Campaign model: a grid of methods × options × data sets × seeds, and how to run it."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from sign_ablate.config.base import Model, Name, Seed
from sign_ablate.config.data import DatasetSpec
from sign_ablate.config.methods import Method
from sign_ablate.config.train import Train
from sign_ablate.config.tuning import Tuning
from sign_ablate.store.layout import RESERVED

#: data set → label of a cell → key → value; None for a cell all of whose trials diverged
Tuned = dict[Name, dict[str, dict[str, float] | None]]


class Execution(Model):
    """Devices and settings of jobs, not part of a run's identity. They change numbers by rounding only."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto: use a GPU if there is one. cuda: use a GPU even if the machine that runs "
        "Snakemake has none, such as a cluster's head node.",
    )
    cpu_fallback: bool = Field(
        False, description="With device: auto, a run uses the CPU instead of waiting if all GPUs are taken."
    )
    runs_per_gpu: int = Field(
        1,
        ge=1,
        le=64,
        description="Runs that share a GPU: small networks keep it busy only together. `--resources gpu=N` "
        "still counts GPUs.",
    )
    deterministic: bool = Field(
        False, description="Bitwise reproducible runs on a GPU, at some cost in speed. CPU runs always are."
    )
    threads: int = Field(
        1, gt=0, description="CPU threads per run. More runs at a time are faster than more threads per run."
    )
    max_ranks: int = Field(
        1,
        ge=1,
        le=64,
        description="Runs of up to this many workers use one process per worker (torch.distributed: gloo on "
        "CPUs, NCCL on GPUs), each with `threads` threads or a GPU of its own. Runs of more workers use a "
        "single process. The numbers are the same.",
    )
    rank_timeout_seconds: int = Field(
        600,
        gt=0,
        description="Seconds for which the ranks of a run wait for another. After that the job fails, names "
        "the rank, and is tried again from the last checkpoint. Must exceed the time of an evaluation, a "
        "compilation or a checkpoint, during which the other ranks wait for rank 0.",
    )
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = Field(
        "none",
        description="torch.compile's mode for the network. reduce-overhead, on a GPU: the whole training "
        "step, including that of SignSGD, the hybrids or Adam, is one CUDA graph, which pays if launches "
        "limit a step (docs/gpu.md). On a CPU, compilation needs g++ and Python's headers. Each run compiles "
        "on its own; `make bench` measures after how many steps that pays on your machine.",
    )
    warm: bool | None = Field(
        None,
        description="Fork jobs from a process that has imported torch, instead of importing it per job. "
        "Unset: where that pays, for short runs on a CPU.",
    )
    checkpoint_seconds: int = Field(
        60, gt=0, description="Seconds between checkpoints, from which an interrupted run resumes."
    )

    def ranks(self, workers: int) -> int:
        """Number of processes that train a run of so many workers."""
        return workers if workers <= self.max_ranks else 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cpu_fallback and self.device != "auto":
            raise ValueError("cpu_fallback: true has no effect without device: auto")
        if self.runs_per_gpu > 1 and self.device == "cpu":
            raise ValueError("runs_per_gpu has no effect with device: cpu")
        return self


#: kind of figure → optimizers that it does not show. An optimizer that is added later is shown as a baseline.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "dithering": ("signsgd", "hybrid", "dithered-hybrid", "naive-switch"),
    "switching": ("signsgd", "adam", "dithered"),
    "differences": (),
    "phase": (),
    "workers": (),
    "adversaries": (),
}


#: first part of the names of the figures that `tuning` draws of each data set (workflow/rules/notebooks.smk)
TUNING_FIGURE = "tuning-"


class Figure(Model):
    """One figure of the report."""

    kind: Literal["dithering", "switching", "differences", "phase", "workers", "adversaries"] = Field(
        description="dithering: like the paper's figure 1. switching: like its figures 2 and 3. differences: "
        "paired differences between cells, with intervals. phase: accuracy by dither σ and δ. workers: "
        "accuracy by the number of workers. adversaries: accuracy by the share of adversaries."
    )
    dataset: str = Field(description="Label of a data set in `datasets`.")
    t_switch: int | None = Field(
        None, gt=0, description="Show only hybrids with this T_switch (kind: switching). Unset: all hybrids."
    )
    reference: str | None = Field(
        None, description="Label of the cell that the others are compared with (kind: differences)."
    )
    cells: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Labels of the cells to show (all kinds but phase). Unset: all; for dithering and "
        "switching, all of the optimizers that the paper's figure is about.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.kind == "differences") != (self.reference is not None):
            raise ValueError("kind: differences needs reference, and no other kind takes it")
        if self.cells and self.kind == "phase":
            raise ValueError("cells does not apply to kind: phase")
        return self

    def parameters(self) -> dict[str, str | int]:
        """Parameters of the notebook of this kind, in addition to those of all kinds."""
        if self.kind == "differences":
            return {"reference": str(self.reference), "cells": json.dumps(self.cells)}
        found: dict[str, str | int] = {} if self.t_switch is None else {"t_switch": self.t_switch}
        return found | ({"cells": json.dumps(self.cells)} if self.cells else {})


class RunConfig(Model):
    """Complete configuration of a run, which determines its numbers."""

    data: DatasetSpec
    method: Method
    train: Train
    seed: Seed
    #: images that the run is evaluated on. Trials of `tuning` never see the test images.
    evaluate: Literal["both", "val"] = "both"


class Campaign(Model):
    """A configuration file. In `train` and `methods`, a list in place of a value is an axis."""

    campaign: Name = Field(description="Results go to results/<campaign>/.")
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, json_schema_extra={"minItems": 1})] = Field(
        description="Seeds. Each determines initialisation, data order and dither, for every method."
    )
    datasets: dict[Name, DatasetSpec] = Field(min_length=1, description="Label → data set.")
    train: dict[str, Any] = Field({}, description="Training parameters for all methods.")
    methods: dict[Name, dict[str, Any]] = Field(
        min_length=1,
        description="Label → an optimizer, its options, and training parameters for this method only. "
        "`tuned_as: <cell>` takes the values that `tuning` chose for a cell of another method; the method "
        "itself must not set these keys.",
    )
    tuning: Tuning | None = Field(None, description="Search for options on validation images. Unset: none.")
    tuned: SkipJsonSchema[Tuned] = Field({}, description="The choices of `tuning`, from its file.")
    figures: dict[Name, Figure] = Field({}, description="Label → a figure to draw.")
    execution: Execution = Field(Execution(), description="Devices and settings of jobs.")

    @field_validator("campaign")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name.casefold() in RESERVED:
            raise ValueError(f"reserved: results/{name.casefold()} is not a campaign's; choose another name")
        return name

    @field_validator("datasets", "methods", "figures")
    @classmethod
    def _distinct(cls, section: dict[str, Any]) -> dict[str, Any]:
        """Refuse labels that differ in case only: they become file names, where case may be ignored."""
        seen: dict[str, str] = {}
        for label in section:
            first = seen.setdefault(label.casefold(), label)
            if first != label:
                raise ValueError(f"{first} and {label} differ in upper and lower case only; rename one")
        return section

    @field_validator("figures")
    @classmethod
    def _not_of_tuning(cls, figures: dict[str, Figure]) -> dict[str, Figure]:
        """Refuse the names of the figures that `tuning` draws of each data set."""
        for label in figures:
            if label.casefold().startswith(TUNING_FIGURE):
                raise ValueError(
                    f"{label}: figures of tuning are called {TUNING_FIGURE}<data set>; rename it"
                )
        return figures

    @field_validator("train", "figures", "execution", mode="before")
    @classmethod
    def _empty_is_absent(cls, section: Any) -> Any:
        """Accept a section without a value: its lines may all be commented out."""
        return {} if section is None else section
