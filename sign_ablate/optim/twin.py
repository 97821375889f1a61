"""Linear twin of pre-sign dither, to which Algorithm 1 of arXiv 2604.25550 reduces for σ_k ≫ |m|."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim import noise
from sign_ablate.optim.annealed import AnnealedOptimizer
from sign_ablate.optim.base import Batch
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import decay, descend, rate
from sign_ablate.optim.options.twin import LinearTwinOptions
from sign_ablate.optim.sign_step import joined
from sign_ablate.optim.sign_step.inputs import annealed, work_dtype


class LinearTwin(AnnealedOptimizer):
    """SGD-M with the mean step of dithered SignSGD-M, to first order in m/σ_k.

    The mean of sign(m + ξ), ξ ~ N(0, σ_k²), is erf(m/(σ_k√2)) = √(2/π)·m/σ_k + O((m/σ_k)³). With m and σ_k of
    SignSGD(dither="pre"):

    - x ← x − δ√(2/π)·m/σ_k                (default)
    - x ← x − δ(√(2/π)·m/σ_k + sign(ξ))    (`noise`)

    The noise ±δ has the size of the dithered step, and with the same seed the signs of its ξ.

    Raises:
        ValueError: for an argument out of range, or one that has no effect beside the others.
        RuntimeError: in `step`, for a sparse gradient.

    >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = LinearTwin([x], lr=0.5, beta=0.0, alpha=4.0)  # σ_0 = 2
    >>> x.grad = torch.tensor([0.1, -40.0])
    >>> optimizer.step()
    >>> x.tolist()  # 1 − 0.5·0.79788·0.05, −2 + 0.5·0.79788·20
    [0.9800528883934021, 5.978845596313477]
    """

    options = LinearTwinOptions

    @takes(LinearTwinOptions)
    def __init__(self, params: ParamsT, options: LinearTwinOptions) -> None:
        self._start(params, options)

    def _update(self, batch: Batch) -> None:
        group, g = batch.group, self._gradients(batch)
        g = list(torch._foreach_mul(g, group["loss_scale"]))
        if not group["decoupled"]:
            torch._foreach_add_(g, batch.x, alpha=group["weight_decay"])
        items = self._items(batch, g, "momentum_buffer" if group["beta"] else None)
        x, m = [item.p for item in items], [item.g for item in items]
        if group["beta"]:
            g, m = m, [item.m for item in items if item.m is not None]
            if group["momentum_form"] == "heavy_ball":
                torch._foreach_mul_(m, group["beta"])
                torch._foreach_add_(m, g)
            else:
                torch._foreach_lerp_(m, g, 1 - group["beta"])
        # with a large γ σ_k underflows to 0
        sigma = max(annealed(group, group["step"]), torch.finfo(work_dtype(m[0])).tiny)
        step = list(torch._foreach_mul(m, math.sqrt(2 / math.pi) / sigma))
        if group["noise"]:

            def noisy(step: Tensor, item: Any) -> Tensor:
                words = item.random(group["seed"], group["step"], noise.DITHER)
                return step.add_(torch.where(words < 1 << 31, -1.0, 1.0))

            step = joined.apply(noisy, step, items)
        if group["decoupled"]:
            decay(x, group)
        descend(x, step, rate(group))
