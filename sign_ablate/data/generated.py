"""Sources that need no files: scikit-learn's digits, and synthetic images."""

import numpy as np

from sign_ablate.config.data import Digits, Synthetic
from sign_ablate.data.common import Labels, Pixels, Source, in_memory


def digits(spec: Digits) -> Source:
    """1,797 images of 8×8×1. Every fourth image of each class, in the wheel's order, is for test."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[3::4]] = True
    return Source(
        in_memory(images[~test], labels[~test]),
        in_memory(images[test], labels[test]),
        [str(label) for label in range(10)],
    )


def synthetic(spec: Synthetic) -> Source:
    """A random prototype for each class, with Gaussian noise: a pure function of the sizes and the noise."""
    # RandomState's stream is frozen across numpy versions, that of default_rng is not
    random = np.random.RandomState(0)
    shape = (spec.image_size, spec.image_size, spec.channels)
    prototypes = random.uniform(64, 192, (spec.classes, *shape))

    def draw(count: int) -> tuple[Pixels, Labels]:
        labels = np.arange(count, dtype=np.int64) % spec.classes
        noisy = prototypes[labels] + 64 * spec.noise * random.standard_normal((count, *shape))
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), labels

    return Source(
        in_memory(*draw(spec.train_images)),
        in_memory(*draw(spec.test_images)),
        [f"class{label}" for label in range(spec.classes)],
    )
