"""1-bit Adam: Algorithm 1 of Tang et al. 2021, arXiv 2102.02888, in single-worker form."""

import math

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim.base import Batch, DeclaredOptimizer
from sign_ablate.optim.compress_many import compressed
from sign_ablate.optim.compressors import ScaledSign
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import decay, descend, rate
from sign_ablate.optim.options.onebit_adam import OneBitAdamOptions


class OneBitAdam(DeclaredOptimizer):
    """Adam for `warmup_steps`, then momentum SGD preconditioned by the frozen variance, compressed.

    Warm-up: m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  x ← x − lr·m/(√v + eps).
    Then v stays, and the momentum goes through a one-bit compressor with error feedback:
    m ← β₁m + (1−β₁)g,  p ← m + e,  m ← C(p),  e ← p − m,  x ← x − lr·m/(√v + eps).

    The paper's second compression, of the servers' average, changes nothing with one worker. Steps are
    counted per parameter, so that a parameter whose first gradient is late has a warm-up too. After the
    warm-up a coordinate whose v is still 0 is divided by eps alone: see docs/optim/onebit-adam.md.

    Raises:
        ValueError: for an argument out of range, or `decoupled` without weight_decay.
        RuntimeError: in `step`, for a sparse gradient.

    >>> import torch
    >>> x = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
    >>> optimizer = OneBitAdam([x], lr=0.01, warmup_steps=1)
    >>> for _ in range(2):
    ...     x.grad = x.detach().clone()
    ...     optimizer.step()
    >>> optimizer.diagnostics()["phase"]
    1.0
    """

    #: before and after the warm-up
    phases = ("adam", "compressed")

    options = OneBitAdamOptions

    @takes(OneBitAdamOptions)
    def __init__(self, params: ParamsT, options: OneBitAdamOptions) -> None:
        self._start(params, options)

    def _update(self, batch: Batch) -> None:
        group, x, k = batch.group, batch.x, self._count(batch)
        g = self._gradients(batch, 0.0 if group["decoupled"] else group["weight_decay"])
        m, v = self._buffers(batch, "exp_avg"), self._buffers(batch, "exp_avg_sq")
        # from the first step on: torch.distributed.checkpoint only loads entries that the state has
        error = self._buffers(batch, "error")
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(m, g, 1 - beta1)
        if k <= group["warmup_steps"]:
            torch._foreach_mul_(v, beta2)
            torch._foreach_addcmul_(v, g, g, value=1 - beta2)
        else:
            torch._foreach_add_(error, m)
            sent = compressed(ScaledSign(group["norm"]), error, k, batch)
            torch._foreach_copy_(m, sent)
            torch._foreach_sub_(error, m)
        correction1 = correction2 = 1.0
        if group["bias_correction"]:
            correction1 = 1 - beta1**k
            correction2 = 1 - beta2 ** min(k, group["warmup_steps"])
        if group["decoupled"]:
            decay(x, group)
        denominator = torch._foreach_sqrt(v)
        torch._foreach_div_(denominator, math.sqrt(correction2))
        torch._foreach_add_(denominator, group["eps"])
        size = rate(group) / correction1
        if isinstance(size, Tensor):
            descend(x, list(torch._foreach_div(m, denominator)), size)
        else:
            torch._foreach_addcdiv_(x, m, denominator, value=-size)

    def diagnostics(self) -> dict[str, Tensor | float]:
        """`phase`: the fraction of tensors past their warm-up; 0 is Adam, 1 compressed."""
        past = [
            self.state[p]["step"] > group["warmup_steps"]
            for group in self.param_groups
            for p in group["params"]
            if p in self.state
        ]
        return {"phase": sum(past) / len(past)} if past else {}
