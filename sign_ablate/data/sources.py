"""The sources of images by name."""

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder
from sign_ablate.data import location
from sign_ablate.data.cifar import cifar
from sign_ablate.data.common import DataError, Source
from sign_ablate.data.folder import folder
from sign_ablate.data.generated import digits, synthetic

__all__ = ["DataError", "load"]


def load(spec: DatasetSpec) -> Source:
    """The whole source: labels at once, pixels for the rows that are asked for.

    Raises:
        DataError: it is missing, truncated, corrupt or not what `spec` says.
    """
    location.check(spec)
    if isinstance(spec, Digits):
        return digits(spec)
    if isinstance(spec, CIFAR10 | CIFAR100):
        return cifar(spec)
    if isinstance(spec, ImageFolder):
        return folder(spec)
    return synthetic(spec)
