"""Model of claims.yaml: claims, the arms that they compare, and margins, all fixed before the runs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from sign_ablate.claims.comparisons import AnyComparison
from sign_ablate.claims.contrasts import ANY, Comparison
from sign_ablate.config.base import Model, Name
from sign_ablate.config.data import SOURCES
from sign_ablate.config.errors import ConfigError, lines, shown, unknown
from sign_ablate.config.read import parse_yaml, read_yaml
from sign_ablate.config.train import Network
from sign_ablate.repository import claims_file

#: key of a margin for the data sets that it does not name
OTHER = "other"
LONGEST_TITLE = 12

Labels = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Source = Literal["cifar10", "cifar100"]


class Setting(Model):
    """Network and epochs of the paper on one data set, which its claims about whole runs are tested with."""

    model: Network
    epochs: int


class Claim(Model):
    """A claim of the paper, or a control that could explain one away."""

    title: str = Field(description="The claim, in at most 12 words.")
    place: str = Field(description="Section, figure, table or equation of the paper.")
    family: str = Field(description="Claims that share a correction for multiplicity: a figure or table.")
    scope: Literal["mathematics", "step-level", "proxy", "paper"] = Field(
        description="Evidence that decides the claim. mathematics: proofs, experiments. step-level: steps in "
        "the paper's network. proxy: any network (controls of our own). paper: the paper's network, data "
        "and epochs."
    )
    ours: bool = Field(
        False, description="A control or correction of ours, or a claim of other work: none of the paper."
    )
    data: Source | None = Field(None, description="The paper's data set; unset: any.")
    specific: bool = Field(
        False, description="The claim is about `data` alone: the paper's other data set is no substitute."
    )
    test: AnyComparison

    @field_validator("title")
    @classmethod
    def _short(cls, title: str) -> str:
        if (words := len(title.split())) > LONGEST_TITLE:
            raise ValueError(f"has {words} words; use at most {LONGEST_TITLE}")
        return title


class Claims(Model):
    """The content of claims.yaml."""

    settings: dict[Source, Setting] = Field(description="The paper's setting on each of its data sets.")
    readings: dict[str, str] = Field(description="Reading that the paper's text allows → its meaning.")
    arms: dict[str, dict[str, Labels]] = Field(
        description="Arm → reading → labels of cells. The first label that a campaign has is used."
    )
    margins: dict[Name, dict[str, Annotated[float, Field(gt=0)]]] = Field(
        description="Margin → source of a data set, or `other` → the margin there."
    )
    claims: dict[Name, Claim] = Field(min_length=1)

    def margin(self, name: str, source: str) -> float:
        """The margin `name` on data of `source`."""
        values = self.margins[name]
        return values.get(source, values[OTHER])

    def readings_of(self, test: Comparison) -> tuple[str, ...]:
        """Readings that all arms of a test have; an arm of the reading `any` fits each."""
        open_arms = [self.arms[arm] for arm in test.arms() if ANY not in self.arms[arm]]
        if not open_arms:
            return (ANY,)
        return tuple(reading for reading in self.readings if all(reading in arm for arm in open_arms))


def load(path: Path | None = None) -> Claims:
    """Load claims.yaml, by default `claims_file()`. Raises ConfigError with a line for each problem."""
    path = path or claims_file()
    values = read_yaml(path)
    try:
        return _validated(values)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def parse(text: str) -> Claims:
    """Parse the text of claims.yaml. Raises ConfigError with a line for each problem."""
    values = parse_yaml(text)
    if not isinstance(values, dict):
        raise ConfigError(f"{shown(values)}: must be a mapping of keys, such as `claims:`")
    return _validated(values)


def _validated(values: dict[str, Any]) -> Claims:
    try:
        claims = Claims.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(lines(error, Claims))) from None
    if problems := list(_problems(claims)):
        raise ConfigError("\n".join(problems))
    return claims


def digest(path: Path | None = None) -> str:
    """SHA-256 of the content of a file of claims, by default `claims_file()`, in hexadecimal."""
    return hashlib.sha256((path or claims_file()).read_bytes()).hexdigest()


def _problems(claims: Claims) -> Iterator[str]:
    """Yield a line for each undefined name, and for each claim that cannot be tested under any reading."""
    for name, readings in claims.arms.items():
        for reading in readings.keys() - {ANY, *claims.readings}:
            yield unknown(f"arms.{name}.{reading}", reading, [ANY, *claims.readings], "unknown reading")
    for name, values in claims.margins.items():
        if OTHER not in values:
            yield f"margins.{name}.{OTHER}: required, but missing"
        for source in values.keys() - {OTHER, *SOURCES}:
            yield unknown(f"margins.{name}.{source}", source, [OTHER, *SOURCES], "unknown source")
    for name, claim in claims.claims.items():
        key, arms = f"claims.{name}.test", claim.test.arms()
        for reading in getattr(claim.test, "readings", {}).keys() - claims.readings.keys():
            yield unknown(f"{key}.readings.{reading}", reading, claims.readings, "unknown reading")
        missing = [arm for arm in arms if arm not in claims.arms]
        for arm in missing:
            yield unknown(f"{key}: arm {shown(arm)}", arm, claims.arms)
        if not missing and not claims.readings_of(claim.test):
            yield f"{key}: its arms have no reading in common; change the claim, or add one under arms"
        if claim.test.quotes and claim.scope != "paper":
            yield f"claims.{name}.scope = {claim.scope!r}: must be 'paper', as the number in its test is"
        margin = claim.test.margin
        if margin is not None and margin not in claims.margins:
            yield unknown(f"{key}.margin = {shown(margin)}", margin, claims.margins)
