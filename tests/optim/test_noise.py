"""The counter-based noise: a pure function, and good noise."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sign_ablate.optim import SignSGD, noise

CPU = torch.device("cpu")
N = 1 << 18


def u(step=0, *, n=N, seed=0, param=0, **more):
    return noise.uniform(torch.Size([n]), seed, step, param, CPU, **more).double().numpy()


@pytest.mark.parametrize("seed", [0, 1, -5, 2**63])
def test_uniform_moments_and_kolmogorov_smirnov(seed):
    values = u(seed=seed)
    assert values.min() > 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=4 / math.sqrt(12 * N))
    assert values.var() == pytest.approx(1 / 12, rel=0.01)
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_normal_moments_and_kolmogorov_smirnov():
    values = noise.normal(torch.Size([N]), 0, 0, 0, CPU).double().numpy()
    assert np.isfinite(values).all()
    assert values.mean() == pytest.approx(0, abs=4 / math.sqrt(N))
    assert values.var() == pytest.approx(1, rel=0.02)
    assert stats.kurtosis(values) == pytest.approx(0, abs=0.05)
    assert stats.kstest(values, "norm").pvalue > 1e-4


#: Random123's known answers for Philox4x32-10: counter, key, output
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def numbers(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_known_answers(counter, key, output):
    assert noise.philox(numbers(counter), numbers(key)) == numbers(output)
    as_tensors = [torch.tensor([word, 1]) for word in numbers(counter)]
    assert tuple(int(word[0]) for word in noise.philox(as_tensors, numbers(key))) == numbers(output)


def test_words_are_philox_words_in_the_documented_places():
    seed, step, param, stream = 0x1234_5678_9ABC_DEF0, 77, 5, noise.ROUNDING
    found = noise.words(300, seed, step, param, CPU, first=1000, stream=stream).tolist()
    for i, word in enumerate(found, start=1000):
        block = 16 * (i // 64) + i % 16
        four = noise.philox((block, stream << 16, param, step), (0x9ABC_DEF0, 0x1234_5678))
        assert word == four[(i // 16) % 4]


def signs(draw):
    return np.where(draw < 0.5, -1.0, 1.0)


def lag_scores(values, lags):
    """z of the sign correlation, and of the χ² of an 8 × 8 table of pairs, at each lag."""
    for lag in lags:
        a, b = values[:-lag], values[lag:]
        yield float((signs(a) * signs(b)).mean() * math.sqrt(len(a)))
        yield pair_score(a, b)


def pair_score(a, b, bins=8):
    counts = np.bincount((a * bins).astype(int) * bins + (b * bins).astype(int), minlength=bins * bins)
    chi2 = ((counts - len(a) / bins**2) ** 2).sum() / (len(a) / bins**2)
    freedom = bins * bins - 1
    return float((chi2 - freedom) / math.sqrt(2 * freedom))


def sum_scores(values, shape):
    """z of the variance of the column sums, and of the row sums, of a weight matrix."""
    matrix = (values.reshape(shape) - 0.5) * math.sqrt(12)
    for axis in (0, 1):
        sums = matrix.sum(axis) / math.sqrt(shape[axis])
        yield float((sums.var() - 1) / math.sqrt(2 / len(sums)))


def quality(draw):
    """Scores of a source of uniform noise, all about standard normal: name → the largest |z|, their number.

    Args:
        draw: (seed, step, parameter, n) → n numbers in (0, 1).
    """
    lags = sorted({2**k for k in range(18)} | {3 * 2**k for k in range(16)})
    scores = {"lags": [], "sums": [], "keys": []}
    for seed, step in ((0, 0), (1, 3)):
        scores["lags"] += lag_scores(draw(seed, step, 0, N), lags)
    for shape in ((1024, 4096), (1024, 1024), (64, 16384), (4096, 256), (10, 512)):
        for step in range(3):
            scores["sums"] += sum_scores(draw(0, step, 1, math.prod(shape)), shape)
    n = 1 << 16
    for bit in range(31):  # seeds, steps and parameters that differ in one bit, at coordinates that do too
        base = draw(5, 6, 7, n)
        for other in (draw(5 ^ 1 << bit, 6, 7, n), draw(5, 6 ^ 1 << bit, 7, n), draw(5, 6, 7 ^ 1 << bit, n)):
            for shift in (0, 1 << bit % 16):
                scores["keys"].append(pair_score(base, other[np.arange(n) ^ shift]))
    return {name: (max(map(abs, values)), len(values)) for name, values in scores.items()}


def control(seed, step, param, n):
    generator = torch.Generator().manual_seed(hash((seed, step, param)))
    return torch.rand(n, generator=generator, dtype=torch.float64).numpy()


def too_large(worst, count):
    """True if the largest of `count` scores has a probability below 1e-4 (χ² has a heavier tail: 4 more)."""
    return worst > stats.norm.isf(1e-4 / count / 2) + 1


@pytest.mark.slow
def test_quality_beside_torch_rand():
    ours, theirs = (
        quality(lambda seed, step, param, n: u(step, n=n, seed=seed, param=param)),
        quality(control),
    )
    print(f"worst |z| and number of scores: Philox {ours}, torch.rand {theirs}")
    for name in ours:
        assert not too_large(*theirs[name]), f"the control fails {name}: the test is wrong"
        assert not too_large(*ours[name]), name


def test_the_quality_test_sees_a_weak_generator():
    """One round of a 32-bit finaliser with the keys xored in."""

    def weak(seed, step, param, n):
        with np.errstate(over="ignore"):
            x = np.arange(n, dtype=np.uint32) ^ np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
            x = (x ^ x >> np.uint32(16)) * np.uint32(0x21F0AAAD)
            x ^= np.uint32((step * 0x85EBCA6B ^ param) & 0xFFFFFFFF)
            x = (x ^ x >> np.uint32(15)) * np.uint32(0x735A2D97)
            x ^= x >> np.uint32(15)
        return (x >> np.uint32(9)) * 2.0**-23

    found = quality(weak)
    assert too_large(*found["lags"])
    assert too_large(*found["keys"])


def test_steps_parameters_seeds_and_streams_are_independent():
    base = u()
    others = [u(k) for k in range(1, 20)] + [u(param=i) for i in range(1, 10)]
    others += [u(seed=s) for s in (*range(1, 10), 1 << 32, 2**63)] + [u(stream=s) for s in (1, 2)]
    assert not too_large(max(abs(pair_score(base, other)) for other in others), len(others))


@pytest.mark.slow
def test_one_coordinate_over_the_steps_is_uniform_and_uncorrelated():
    paths = np.stack([u(k, n=8) for k in range(4000)])
    for i in range(8):
        assert stats.kstest(paths[:, i], "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(paths[1:, i], paths[:-1, i])[0, 1]) < 4.5 / math.sqrt(4000)


def test_every_bit_is_fair():
    words = noise.words(N, 0, 0, 0, CPU).numpy()
    assert words.max() < 1 << 32
    for b in range(32):
        assert ((words >> b) & 1).mean() == pytest.approx(0.5, abs=4.5 / (2 * math.sqrt(N)))


def test_the_step_may_be_a_tensor():
    for step in (0, 1, 12345, 2**40):
        number = noise.uniform(torch.Size([100]), 3, step, 5, CPU)
        tensor = noise.uniform(torch.Size([100]), 3, torch.tensor(step), 5, CPU)
        assert torch.equal(number, tensor)


def test_the_first_coordinate_shifts_the_numbers():
    whole = noise.uniform(torch.Size([100]), 3, 4, 5, CPU)
    assert torch.equal(whole[37:], noise.uniform(torch.Size([63]), 3, 4, 5, CPU, first=37))


def probability(x):
    """P(exceeds) by bisection of the word at which the decision changes."""
    low, high = torch.zeros(x.shape, dtype=torch.int64), torch.full(x.shape, 1 << 32)
    for _ in range(33):  # the decision is False up to `low` and True from `high` on
        middle = (low + high) // 2
        above = noise.exceeds(middle.clamp(max=(1 << 32) - 1), x) | (middle >= 1 << 32)
        low, high = torch.where(above, low, middle + 1), torch.where(above, middle, high)
    return 1 - high.double() / 2**32


def test_phi_is_within_3e_7_and_rises():
    x = torch.linspace(-9, 9, 36_001)
    found = probability(x)
    assert float((found - torch.special.ndtr(x.double())).abs().max()) < 3e-7
    assert bool((found.diff() >= 0).all())


@pytest.mark.parametrize("x", [6.5, 7.0, 50.0, 3e38, math.inf])
def test_a_large_ratio_gives_a_clean_sign(x):
    """No word flips it: the two ends of the range, and some between."""
    ends = torch.tensor([0, 1, 2, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
    random = torch.cat([ends, torch.arange(0, 1 << 32, 1 << 22)])
    assert noise.exceeds(random, torch.full(random.shape, x)).all()
    assert not noise.exceeds(random, torch.full(random.shape, -x)).any()


@pytest.mark.parametrize("x", [2.5, 4.0, 5.0])
def test_tails_are_right_relative_to_their_size(x):
    tail = float(torch.special.ndtr(torch.tensor(-x, dtype=torch.float64)))
    for found in (probability(torch.tensor([-x])), 1 - probability(torch.tensor([x]))):
        assert float(found) == pytest.approx(tail, rel=0.06)


def test_a_tiny_ratio_keeps_its_drift():
    """E sign(m + ξ) = 0.8·m/σ also where m/σ is 1e-6: the paper's regime is 4e-4 to 6e-3."""
    for x in (1e-6, 4e-4, 6e-3):
        assert float(2 * probability(torch.tensor([x]))[0] - 1) == pytest.approx(
            math.erf(x / 2**0.5), rel=1e-3
        )


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian", "uniform"])
@pytest.mark.parametrize("ratio", [-2.0, -0.3, 0.01, 0.1, 1.0, 1.2, 3.0])
def test_probability_and_mean_of_the_dithered_sign(ratio, law):
    """P(correct) = Φ(|m|/σ) and E sign(m+ξ) = erf(m/σ√2); uniform: E = m/A, clipped. 4 standard errors."""
    sigma, lr = 0.3, 1.0
    p = torch.nn.Parameter(torch.zeros(N))
    optimizer = SignSGD([p], lr=lr, beta=0.0, dither="pre", alpha=sigma**2, law=law)
    p.grad = torch.full((N,), ratio * sigma)
    optimizer.step()
    signs = -p.detach().double()
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}
    width = sigma * 3**0.5
    mean = math.erf(ratio / math.sqrt(2)) if law == "gaussian" else max(-1.0, min(1.0, ratio * sigma / width))
    error = 4 * math.sqrt(max(1 - mean**2, 1e-9) / N) + 1e-6
    assert float(signs.mean()) == pytest.approx(mean, abs=error)
    correct = float((signs == math.copysign(1, ratio)).double().mean())
    assert correct == pytest.approx((1 + abs(mean)) / 2, abs=error / 2)


@pytest.mark.parametrize("law", ["gaussian", "uniform"])
def test_post_sign_moments_equation_10(law):
    """Step mean δ·sign(m), variance δ²σ²."""
    p = torch.nn.Parameter(torch.zeros(N))
    optimizer = SignSGD([p], lr=0.5, beta=0.0, dither="post", alpha=0.09, law=law)
    p.grad = torch.ones(N)
    optimizer.step()
    step = -p.detach().double()
    assert float(step.mean()) == pytest.approx(0.5, abs=4 * 0.15 / math.sqrt(N))
    assert float(step.var()) == pytest.approx(0.15**2, rel=0.02)


def test_stochastic_rounding_has_the_right_mean():
    """A step of a tenth of an ulp moves a tenth of the bfloat16 parameters; to nearest, none."""
    means = []
    for option in (True, False):
        p = torch.nn.Parameter(torch.ones(N, dtype=torch.bfloat16))
        optimizer = SignSGD([p], lr=2.0**-8 * 0.1, beta=0.0, stochastic_rounding=option)
        p.grad = torch.ones_like(p)
        for _ in range(5):
            optimizer.step()
        means.append(float(p.detach().double().mean()))
    assert means[1] == 1.0
    assert means[0] == pytest.approx(1 - 5 * 2.0**-8 * 0.1, abs=4 * 2.0**-8 / math.sqrt(N))


def test_words_of_a_counter_may_broadcast():
    row, column, one = torch.arange(3), torch.arange(2)[:, None], torch.tensor([5])
    for counter in itertools.permutations([row, column, one, 7]):
        found = torch.broadcast_tensors(*noise.philox(counter, (1, 2)))
        places = [torch.as_tensor(word).expand(2, 3).flatten().tolist() for word in counter]
        expected = [noise.philox(each, (1, 2)) for each in zip(*places, strict=True)]
        assert torch.stack(found, -1).view(-1, 4).tolist() == [list(words) for words in expected]
