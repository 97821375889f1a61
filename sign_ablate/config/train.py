"""Configuration model of the training parameters."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sign_ablate.config.base import Model
from sign_ablate.config.errors import OptionError

Network = Literal["small", "resnet18", "resnet18-imagenet"]


class Train(Model):
    """Training parameters: under `train` for all methods, or in a method for that method only."""

    model: Network = Field(
        "small",
        description="small: 3 convolutions, for CPUs. resnet18: 3×3 CIFAR stem. resnet18-imagenet: 7×7 stem.",
    )
    epochs: int | None = Field(
        None, gt=0, description="Number of passes over the training images. Give `epochs` or `steps`."
    )
    steps: int | None = Field(None, gt=0, description="Number of optimizer steps. Give `epochs` or `steps`.")
    batch_size: int = Field(128, gt=0, description="Images per step.")
    schedule: Literal["constant", "multistep", "cosine"] = Field(
        "constant", description="Learning-rate schedule; multistep: constant, with milestones."
    )
    milestones: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(strict=False)] = Field(
        (), description="Epochs after which the learning rate drops, under every schedule."
    )
    lr_decay: float = Field(0.1, gt=0, lt=1, description="Factor of the learning rate at each milestone.")
    warmup_epochs: int = Field(0, ge=0, description="Epochs of linear learning-rate warm-up.")
    crop_padding: int = Field(0, ge=0, description="Zero padding in pixels before random crops. 0: no crops.")
    flip: bool = Field(False, description="Flip images horizontally with probability 1/2.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast in the forward pass. Parameters stay float32."
    )
    probe: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] = Field(
        (),
        description="Epochs at whose last step the gradient noise and the step are measured (probe.parquet); "
        "0: the first step. Each costs up to 64 gradients. Other numbers of the run stay the same.",
    )

    workers: int = Field(
        1,
        ge=1,
        le=1024,
        description="Virtual workers W. Each takes its share of the batch; their gradients are aggregated as "
        "on W ranks.",
    )
    aggregation: Literal[
        "mean", "vote", "two-phase-vote", "ef", "two-sided-ef", "qsgd", "terngrad", "topk"
    ] = Field(
        "mean",
        description="Rule that combines the workers' gradients. vote: majority vote of signs, 0 at a "
        "tie; two-phase-vote: random at a tie; ef: mean of scaled signs with error feedback; two-sided-ef: "
        "with error feedback on the servers, too; qsgd, terngrad, topk: mean of these compressors.",
    )
    worker_momentum: float = Field(0.0, ge=0, lt=1, description="Momentum β of the workers that vote.")
    worker_alpha: float = Field(
        0.0, ge=0, description="Dither before the vote: variance α at step 0, independent for each worker."
    )
    worker_gamma: float = Field(0.55, ge=0, description="Annealing exponent γ of this dither.")
    worker_scale: Literal["absolute", "rms"] = Field(
        "absolute", description="Unit of this dither; rms: root mean square of the tensor that is voted on."
    )
    adversaries: float = Field(
        0.0, ge=0, lt=1, description="Share of the workers that are adversaries, rounded to a number of them."
    )
    adversary: Literal["invert", "random"] = Field(
        "invert", description="Corruption of an adversary's gradient: invert it, or draw its signs at random."
    )

    @property
    def adversary_count(self) -> int:
        """Number of adversaries."""
        return int(self.adversaries * self.workers + 0.5)

    @model_validator(mode="after")
    def _aggregated(self) -> Self:
        if self.workers > self.batch_size:
            raise OptionError(
                "workers", self.workers, f"more than the images of a batch (batch_size {self.batch_size})"
            )
        if self.adversaries and not self.adversary_count:
            least = 1 / (2 * self.workers)
            problem = f"rounds to none of {self.workers} workers; give at least {least:g}"
            raise OptionError("adversaries", self.adversaries, problem)
        if self.adversary_count == self.workers:
            most = 1 - 1 / (2 * self.workers)
            problem = f"rounds to all of {self.workers} workers; give less than {most:g}"
            raise OptionError("adversaries", self.adversaries, problem)
        defaults = {name: field.default for name, field in Train.model_fields.items()}
        needs = {
            "worker_momentum": ("aggregation: vote or two-phase-vote", "vote" in self.aggregation),
            "worker_alpha": ("aggregation: vote or two-phase-vote", "vote" in self.aggregation),
            "worker_gamma": ("worker_alpha", self.worker_alpha > 0),
            "worker_scale": ("worker_alpha", self.worker_alpha > 0),
            "adversary": ("adversaries", self.adversaries > 0),
        }
        for key, (need, met) in needs.items():
            value = getattr(self, key)
            if value != defaults[key] and not met:
                raise OptionError(key, value, f"has no effect without {need}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        if self.schedule == "multistep" and not self.milestones:
            raise OptionError("schedule", self.schedule, "needs milestones (schedule: constant has none)")
        for key, epochs in (("milestones", self.milestones), ("probe", self.probe)):
            if list(epochs) != sorted(set(epochs)):
                raise OptionError(key, epochs, "must rise, without repetition")
        if self.lr_decay != Train.model_fields["lr_decay"].default and not self.milestones:
            raise OptionError("lr_decay", self.lr_decay, "has no effect without milestones")
        if self.epochs is not None:
            ends = f"the end of the run, which has {self.epochs} epoch{'s' * (self.epochs != 1)}"
            if self.probe and self.probe[-1] > self.epochs:
                raise OptionError("probe", self.probe, f"{self.probe[-1]} lies after {ends}")
            if self.milestones and self.milestones[-1] >= self.epochs:
                raise OptionError("milestones", self.milestones, f"must lie before {ends}")
            if self.warmup_epochs and self.warmup_epochs >= self.epochs:
                raise OptionError("warmup_epochs", self.warmup_epochs, f"must lie before {ends}")
        return self
