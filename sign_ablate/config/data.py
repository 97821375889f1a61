"""Where images come from."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sign_ablate.config.base import Model

Count = Annotated[int, Field(gt=0)]

#: keys that say where images lie, and not what they are
LOCATION = ("path", "download_dir")


class Dataset(Model):
    """What every data set has. Images become one uint8 file that all runs of the data set read."""

    subset: Count | None = Field(
        None, description="Keep this many training images, class-balanced; unset: all of them."
    )
    test_subset: Count | None = Field(None, description="Keep this many test images, class-balanced.")
    val: int = Field(
        0, ge=0, description="Hold this many training images out, class-balanced, as a validation split."
    )
    split_seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the choice of subset and validation images."
    )

    def location(self) -> dict[str, str | None]:
        """Where the images lie."""
        return {name: getattr(self, name) for name in LOCATION if name in type(self).model_fields}

    def without_location(self) -> Self:
        """The same images, wherever they lie: what a run is identified by."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in self.location()})


class Digits(Dataset):
    """Handwritten digits from scikit-learn's wheel: 1,797 grey 8×8 images, a fixed quarter for test."""

    source: Literal["digits"] = "digits"


class CIFAR(Dataset):
    """CIFAR-10 or CIFAR-100: torchvision's download or a folder of Parquet shards, the same data."""

    path: str | None = Field(
        None,
        min_length=1,
        description="Folder of Parquet shards in the layout of uoft-cs/cifar10 or uoft-cs/cifar100 "
        "(train-*.parquet, test-*.parquet); unset: torchvision downloads the official files.",
    )
    download_dir: str = Field("data/torchvision", description="Where torchvision keeps its download.")


class CIFAR10(CIFAR):
    """CIFAR-10: 50,000 + 10,000 colour images of 32×32, 10 classes."""

    source: Literal["cifar10"] = "cifar10"


class CIFAR100(CIFAR):
    """CIFAR-100: 50,000 + 10,000 colour images of 32×32, 100 classes."""

    source: Literal["cifar100"] = "cifar100"


class ImageFolder(Dataset):
    """Your own images: `path/train/<class>/*.png` and `path/test/<class>/*.png`."""

    source: Literal["folder"] = "folder"
    path: str | None = Field(
        None,
        min_length=1,
        description="Required. Folder that holds train/ and test/, each with one folder per class.",
    )
    image_size: Count = Field(description="Height and width that every image must have, in pixels.")
    classes: int = Field(ge=2, description="Number of classes that must be found.")
    content: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Digest of the images (docs/data.md), by which runs are identified; unset: computed. "
        "Where it is set, other images are refused.",
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.path is None and self.content is None:
            raise ValueError("path: required, but missing")
        return self

    def without_location(self) -> Self:
        """As for every data set. Raises ValueError while nobody knows what the images are."""
        if self.content is None:
            raise ValueError(f"{self.path}: its content is not known; parse_campaign looks into the folder")
        return super().without_location()


class Synthetic(Dataset):
    """Noisy class prototypes, made on the spot: for tests, not for conclusions."""

    source: Literal["synthetic"] = "synthetic"
    train_images: Count = Field(256, description="Training images.")
    test_images: Count = Field(128, description="Test images.")
    image_size: int = Field(8, gt=0, le=1024, description="Height and width in pixels.")
    channels: Literal[1, 3] = Field(3, description="Grey or colour.")
    classes: int = Field(4, ge=2, description="Number of classes.")
    noise: float = Field(0.5, ge=0, description="Noise level; larger is harder.")


DatasetSpec = Annotated[Digits | CIFAR10 | CIFAR100 | ImageFolder | Synthetic, Field(discriminator="source")]
