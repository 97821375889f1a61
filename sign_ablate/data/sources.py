"""Loader for the source of a data set."""

from sign_ablate.config.data import CIFAR10, CIFAR100, DatasetSpec, Digits, ImageFolder
from sign_ablate.data import location
from sign_ablate.data.cifar import cifar
from sign_ablate.data.common import DataError, Source
from sign_ablate.data.folder import folder
from sign_ablate.data.generated import digits, synthetic

__all__ = ["DataError", "load"]


def load(spec: DatasetSpec) -> Source:
    """Load a source: its labels at once, its pixels for the requested rows only.

    Raises:
        DataError: if the source is missing, truncated or corrupt, or does not match `spec`.
    """
    location.check(spec)
    if isinstance(spec, Digits):
        return digits(spec)
    if isinstance(spec, CIFAR10 | CIFAR100):
        return cifar(spec)
    if isinstance(spec, ImageFolder):
        return folder(spec)
    return synthetic(spec)
