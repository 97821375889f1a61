"""SGD with annealed gradient noise: Neelakantan et al. 2015, arXiv 1511.06807."""

from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim import noise
from sign_ablate.optim.annealed import AnnealedOptimizer
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import Group, descend, local, rate, real
from sign_ablate.optim.options.noisy_sgd import NoisySGDOptions
from sign_ablate.optim.sign_step.inputs import annealed


class NoisySGD(AnnealedOptimizer):
    """SGD with momentum, and Gaussian noise on its gradients whose variance falls.

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

    def _update(self, p: Tensor, number: int, group: Group) -> None:
        x, g, mu = local(real(p)), local(self._gradient(p, group)), group["momentum"]
        sigma = annealed(group, group["step"])
        if sigma:
            g = g + noise.gaussian(self._words(p, x, number, group)).mul_(sigma).to(g.dtype)
        if group["weight_decay"]:
            g = g.add(x, alpha=group["weight_decay"])
        if mu:
            u = local(self._buffer(p, "momentum_buffer")).mul_(mu).add_(g)
            g = g.add(u, alpha=mu) if group["nesterov"] else u
        descend(x, g, rate(group))
