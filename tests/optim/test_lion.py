"""Lion against its paper, by hand, and against SignSGD-M."""

import pytest
import torch
from torch import nn

from sign_ablate.optim import Lion, SignSGD
from tests.optim import oracles
from tests.optim.cases import assert_bitwise, gradients, parameters, train


def test_three_steps_by_hand() -> None:
    x = nn.Parameter(torch.tensor([1.0]))
    optimizer = Lion([x], lr=0.5, betas=(0.5, 0.75))
    path = []
    for g in (1.0, -3.0, 1.0):
        x.grad = torch.tensor([g])
        optimizer.step()
        path.append((x.item(), optimizer.state[x]["exp_avg"].item()))
    # c = 0.5, −1.375, 0.21875
    assert path == [(0.5, 0.25), (1.0, -0.5625), (0.5, -0.171875)]


def test_equals_the_paper() -> None:
    (x,) = parameters([(3, 4)], dtype=torch.float64)
    gs = [gradients([x], k)[0].numpy() for k in range(8)]
    expected = oracles.lion(x.detach().numpy().copy(), gs, lr=0.02, beta1=0.9, beta2=0.99, decay=0.3)
    got = train(Lion([x], lr=0.02, weight_decay=0.3), [x], range(8))
    for (mine,), theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(theirs), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_equal_betas_are_signsgd_m(beta: float, weight_decay: float) -> None:
    ours, theirs = parameters(), parameters()
    a = train(Lion(ours, lr=0.01, betas=(beta, beta), weight_decay=weight_decay), ours, range(8))
    b = train(SignSGD(theirs, lr=0.01, beta=beta, weight_decay=weight_decay), theirs, range(8))
    assert_bitwise(a, b)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1), (0.9,)])
def test_bad_betas(betas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"^betas must be two numbers in \[0, 1\), got"):
        Lion(parameters(), betas=betas)  # type: ignore[arg-type]
