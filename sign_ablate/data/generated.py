"""Sources that need no files: scikit-learn's digits and synthetic images."""

import numpy as np

from sign_ablate.config.data import Digits, Synthetic
from sign_ablate.data.common import Labels, Pixels, Source, in_memory


def digits(spec: Digits) -> Source:
    """Load 1,797 images of 8×8×1. Every fourth image of a class, in the wheel's order, is a test image."""
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
    """Generate one random prototype per class plus Gaussian noise, a pure function of the options."""
    # RandomState's stream is frozen across NumPy versions; default_rng's is not.
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
