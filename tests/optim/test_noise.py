"""The counter-based noise: a pure function, and good noise."""

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


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def test_steps_parameters_seeds_and_streams_are_uncorrelated():
    base, limit = u(), 4.5 / math.sqrt(N)
    others = (
        [u(k) for k in range(1, 20)] + [u(param=i) for i in range(1, 10)] + [u(seed=s) for s in range(1, 10)]
    )
    others += [u(stream=s) for s in (1, 2)]
    assert max(abs(correlation(base, other)) for other in others) < limit


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 64, 256, 4096])
def test_neighbouring_coordinates_are_uncorrelated(lag):
    for k in range(5):
        values = u(k)
        assert abs(correlation(values[lag:], values[:-lag])) < 4.5 / math.sqrt(N)


def test_one_coordinate_over_the_steps_is_uniform_and_uncorrelated():
    paths = np.stack([u(k, n=8) for k in range(4000)])
    for i in range(8):
        assert stats.kstest(paths[:, i], "uniform").pvalue > 1e-4
        assert abs(correlation(paths[1:, i], paths[:-1, i])) < 4.5 / math.sqrt(4000)


def test_every_bit_is_fair_and_pairs_fill_the_square():
    bits = (u() * 2**23).astype(np.int64)
    for b in range(23):
        assert ((bits >> b) & 1).mean() == pytest.approx(0.5, abs=4.5 / (2 * math.sqrt(N)))
    counts, _, _ = np.histogram2d(u()[::2], u()[1::2], bins=32)
    assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_consecutive_steps_never_share_their_numbers():
    """A step's numbers are not another step's, shuffled: that is what the second key is for."""
    shared = [len(np.intersect1d(u(0, n=4096), u(k, n=4096))) for k in range(1, 200)]
    assert np.mean(shared) == pytest.approx(4096 * 4096 / 2**23, rel=0.3)


def test_the_step_may_be_a_tensor():
    for step in (0, 1, 12345, 2**40):
        number = noise.uniform(torch.Size([100]), 3, step, 5, CPU)
        tensor = noise.uniform(torch.Size([100]), 3, torch.tensor(step), 5, CPU)
        assert torch.equal(number, tensor)


def test_the_first_coordinate_shifts_the_numbers():
    whole = noise.uniform(torch.Size([100]), 3, 4, 5, CPU)
    assert torch.equal(whole[37:], noise.uniform(torch.Size([63]), 3, 4, 5, CPU, first=37))


def test_phi_is_within_3e_7():
    """Bisect the u at which the decision changes, on a fine grid of x."""
    x = torch.linspace(-6, 6, 20_001)
    low, high = torch.zeros_like(x, dtype=torch.float64), torch.ones_like(x, dtype=torch.float64)
    for _ in range(40):
        middle = (low + high) / 2
        below = noise.exceeds(1 - middle, x.double())
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    exact = torch.special.ndtr(x.double())
    assert float((low - exact).abs().max()) < 1.5e-7
    u32 = torch.linspace(0, 1, 4097)[1:-1]
    decided = noise.exceeds(1 - u32[None, :], x[:, None].float())
    clear = (u32[None, :].double() - exact[:, None]).abs() > 3e-7
    assert torch.equal(decided[clear], (u32[None, :].double() < exact[:, None])[clear])


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
