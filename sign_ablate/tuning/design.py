"""Points of the search: scrambled Sobol points, the same for all methods."""

from collections.abc import Mapping

from sign_ablate.config.tuning import DIMENSIONS, Range

#: seed of the scrambling
_SCRAMBLING = 0


def points(space: Mapping[str, Range], trials: int) -> list[dict[str, float]]:
    """Values of each trial: uniform in the logarithm of each range, to three significant digits.

    The i-th key of a space has the i-th coordinate of a sequence whose dimension is fixed. Methods therefore
    share points, a key that is added at the end moves nothing, and fewer trials are the first of more.

    Args:
        space: key → (low, high), at most DIMENSIONS keys.
        trials: number of trials.
    """
    from scipy.stats import qmc

    sampler = qmc.Sobol(DIMENSIONS, scramble=True, rng=_SCRAMBLING)
    unit = sampler.random_base2((trials - 1).bit_length())[:trials]
    return [
        {key: _at(float(u), *bounds) for (key, bounds), u in zip(space.items(), row, strict=False)}
        for row in unit
    ]


def _at(u: float, low: float, high: float) -> float:
    """Value at the fraction u of a range's logarithm, rounded to three digits within the range."""
    return min(max(float(f"{low * (high / low) ** u:.3g}"), low), high)
