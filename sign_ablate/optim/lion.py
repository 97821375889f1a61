"""Lion: Algorithm 2 of Chen et al. 2023, arXiv 2302.06675."""

import torch
from torch.optim.optimizer import ParamsT

from sign_ablate.optim.base import Batch, DeclaredOptimizer
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import decay, descend, rate, signs
from sign_ablate.optim.options.lion import LionOptions


class Lion(DeclaredOptimizer):
    """EvoLved Sign Momentum: one momentum buffer, read with β₁ and written with β₂.

    c ← β₁m + (1−β₁)g,  x ← x − lr·(sign(c) + weight_decay·x),  m ← β₂m + (1−β₂)g.

    β₁ = β₂ is SignSGD-M. The paper takes lr 3–10× smaller and weight_decay 3–10× larger than AdamW's.

    Raises:
        ValueError: for an argument out of range.
        RuntimeError: in `step`, for a sparse gradient.

    >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = Lion([x], lr=0.25, weight_decay=0.5)
    >>> x.square().sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.625, -1.5]
    """

    options = LionOptions

    @takes(LionOptions)
    def __init__(self, params: ParamsT, options: LionOptions) -> None:
        self._start(params, options)

    def _update(self, batch: Batch) -> None:
        x, g, m = batch.x, self._gradients(batch), self._buffers(batch, "exp_avg")
        beta1, beta2 = batch.group["betas"]
        direction = signs(torch._foreach_lerp(m, g, 1 - beta1))
        decay(x, batch.group)
        descend(x, direction, rate(batch.group))
        torch._foreach_lerp_(m, g, 1 - beta2)
