"""Reports of users: memory of a large bucket, diagnostics of unequal groups, incomplete states of SWATS."""

import pytest
import torch

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
