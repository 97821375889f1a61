"""Reports of users: memory of a large bucket, diagnostics of unequal groups, incomplete states of SWATS."""

import pytest
import torch

from sign_ablate.optim import SignSGD
from sign_ablate.optim.compressors import QSGD


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("size", [1, 10, 65, 300, 1000])
def test_a_bucket_larger_than_the_tensor_takes_no_memory_and_changes_no_bit(norm, size):
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    filled = torch.nn.functional.pad(x, (0, 2048 - size))  # as long as its bucket
    compress = QSGD(norm=norm, bucket=2048)
    assert torch.equal(compress(x, 3, 1), compress(filled, 3, 1)[:size])
    message = QSGD(norm=norm, bucket=10**6).encode(x, 3, 1)
    assert max(part.numel() for part in message.parts) < size + 64


@pytest.mark.parametrize("more", [{}, {"capturable": True}])
@pytest.mark.parametrize(
    ("alphas", "sigma"), [((0.0, 0.25), 0.5), ((0.25, 0.0), 0.5), ((0.01, 0.25), 0.3), ((0.0, 0.0), 0.0)]
)
def test_sigma_is_the_mean_over_the_groups_that_dither(alphas, sigma, more):
    params = [torch.nn.Parameter(torch.ones(4)) for _ in alphas]
    groups = [{"params": [p], "alpha": alpha} for p, alpha in zip(params, alphas, strict=True)]
    optimizer = SignSGD(groups, dither="pre", alpha=1.0, **more)
    for p in params:
        p.grad = torch.ones(4)
    optimizer.step()
    assert float(optimizer.diagnostics()["sigma"]) == pytest.approx(sigma)
