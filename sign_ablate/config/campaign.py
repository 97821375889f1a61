"""The campaign: a grid of methods × options × data sets × seeds, and how to run it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sign_ablate.config.base import Model, Name
from sign_ablate.config.data import DatasetSpec
from sign_ablate.config.methods import Method
from sign_ablate.config.train import Train
from sign_ablate.store.layout import RESERVED

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Execution(Model):
    """Where and how jobs run. Not part of a run's identity: it may change a number by no more than another
    kind of machine does, which is the last bits.
    """

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU where there is one. cuda: for a head node that has none itself."
    )
    cpu_fallback: bool = Field(
        False, description="device: auto: a run that finds every GPU taken takes the CPU and does not wait."
    )
    deterministic: bool = Field(
        False, description="Bitwise equal runs on a GPU, at some cost; on the CPU they are so anyway."
    )
    threads: int = Field(1, gt=0, description="CPU threads of one run; more runs beat more threads.")
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = Field(
        "none",
        description="torch.compile's mode for the network; on a CPU it needs g++ and Python's headers. Each "
        "run compiles for itself: `make bench` says after how many steps that pays on your machine.",
    )
    warm: bool = Field(
        True, description="Fork runs from a process that holds torch instead of importing it for each."
    )
    checkpoint_seconds: int = Field(
        60, gt=0, description="A run can go on after an interruption from a point at most this far back."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cpu_fallback and self.device != "auto":
            raise ValueError("cpu_fallback: true has no effect without device: auto")
        return self


#: kind of figure → the optimizers that it leaves out; one that is added later appears as a baseline
LEFT_OUT = {
    "dithering": ("signsgd", "hybrid", "dithered-hybrid", "naive-switch"),
    "switching": ("signsgd", "adam", "dithered"),
}


class Figure(Model):
    """One figure of the paper, drawn from this campaign."""

    kind: Literal["dithering", "switching"] = Field(
        description="dithering: as the paper's figure 1; switching: as its figures 2 and 3."
    )
    dataset: str = Field(description="One of `datasets`.")
    t_switch: int | None = Field(
        None, gt=0, description="Draw the hybrids with this T_switch (kind: switching); unset: all of them."
    )


class RunConfig(Model):
    """All that determines a run's numbers."""

    data: DatasetSpec
    method: Method
    train: Train
    seed: Seed


class Campaign(Model):
    """A configuration file. In `train` and `methods`, a list where a value is expected is an axis."""

    campaign: Name = Field(description="Results go to results/<campaign>/.")
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, json_schema_extra={"minItems": 1})] = Field(
        description="Seeds; each sets initialisation, data order and dither of every method."
    )
    datasets: dict[Name, DatasetSpec] = Field(min_length=1, description="Label → data set.")
    train: dict[str, Any] = Field({}, description="Training parameters of all methods.")
    methods: dict[Name, dict[str, Any]] = Field(
        min_length=1,
        description="Label → an optimizer, its options, and training parameters of this method alone.",
    )
    figures: dict[Name, Figure] = Field({}, description="Label → a figure to draw.")
    execution: Execution = Field(Execution(), description="Devices and threads.")

    @field_validator("campaign")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name.casefold() in RESERVED:
            raise ValueError(f"reserved: results/{name.casefold()} is not a campaign's; choose another name")
        return name

    @field_validator("datasets", "methods", "figures")
    @classmethod
    def _distinct(cls, section: dict[str, Any]) -> dict[str, Any]:
        """Labels become names of files, which some file systems take for the same."""
        seen: dict[str, str] = {}
        for label in section:
            first = seen.setdefault(label.casefold(), label)
            if first != label:
                raise ValueError(f"{first} and {label} differ in upper and lower case only; rename one")
        return section

    @field_validator("train", "figures", "execution", mode="before")
    @classmethod
    def _empty_is_absent(cls, section: Any) -> Any:
        """A key whose lines are all commented out has no value in YAML."""
        return {} if section is None else section
