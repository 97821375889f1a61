"""SGD with annealed gradient noise: Neelakantan et al. 2015, arXiv 1511.06807."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim import noise
from sign_ablate.optim.annealed import AnnealedOptimizer
from sign_ablate.optim.base import Batch
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import descend, rate
from sign_ablate.optim.options.noisy_sgd import NoisySGDOptions
from sign_ablate.optim.sign_step import joined
from sign_ablate.optim.sign_step.inputs import annealed


class NoisySGD(AnnealedOptimizer):
    """SGD with momentum and Gaussian gradient noise of falling variance.

    g ← g + ξ + weight_decay·x,  ξ ~ N(0, σ_k²),  σ_k² = α(1+k)^−γ; then as `torch.optim.SGD`: u ← μu + g,
    x ← x − lr·u, or x ← x − lr·(g + μu) with `nesterov`. α = 0 is `torch.optim.SGD`, bit for bit.

    Raises:
        ValueError: for an argument out of range, or one that has no effect beside the others.
        RuntimeError: in `step`, for a sparse gradient.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.zeros(100_000))
    >>> optimizer = NoisySGD([x], lr=1.0, momentum=0.0, alpha=0.25)
    >>> x.grad = torch.ones_like(x)
    >>> optimizer.step()
    >>> round(x.mean().item(), 2), round(x.std().item(), 2)
    (-1.0, 0.5)
    """

    options = NoisySGDOptions

    @takes(NoisySGDOptions)
    def __init__(self, params: ParamsT, options: NoisySGDOptions) -> None:
        self._start(params, options)

    def _update(self, batch: Batch) -> None:
        group, mu = batch.group, batch.group["momentum"]
        items = self._items(batch, self._gradients(batch), "momentum_buffer" if mu else None)
        x, g = [item.p for item in items], [item.g for item in items]
        sigma = annealed(group, group["step"])
        if sigma:

            def noisy(g: Tensor, item: Any) -> Tensor:
                words = item.random(group["seed"], group["step"], noise.DITHER)
                return g + noise.gaussian(words).mul_(sigma).to(g.dtype)

            g = joined.apply(noisy, g, items)
        if group["weight_decay"]:
            g = list(torch._foreach_add(g, x, alpha=group["weight_decay"]))
        if mu:
            u = [item.m for item in items if item.m is not None]
            torch._foreach_mul_(u, mu)
            torch._foreach_add_(u, g)
            g = list(torch._foreach_add(g, u, alpha=mu)) if group["nesterov"] else u
        descend(x, g, rate(group))
