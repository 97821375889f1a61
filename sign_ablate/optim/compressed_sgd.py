"""SGD with a compressed update, with and without error feedback, in single-worker form."""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim.base import Batch, DeclaredOptimizer
from sign_ablate.optim.checks import python_values
from sign_ablate.optim.compress_many import compressed
from sign_ablate.optim.compressors import Compressor, from_dict
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import Group, decay, descend, rate
from sign_ablate.optim.options.compressed_sgd import CompressedSGDOptions


class CompressedSGD(DeclaredOptimizer):
    """SGD whose update goes through a compressor C.

    With error feedback (Karimireddy et al. 2019, arXiv 1901.09847, Algorithm 2; e starts at 0):

        p ← lr·g + e,  Δ ← C(p),  x ← x − Δ,  e ← p − Δ,

    and without it x ← x − lr·C(g). Scaled sign and EF-SignSGD are `ScaledSign()` without and with error
    feedback, 1-bit SGD is `OneBit()` with it, QSGD and TernGrad are their compressors without it. A group may
    override any option; `compressor=None` leaves it uncompressed, for example the biases. A sharded parameter
    (FSDP2) is gathered: C(p) is that of the whole tensor.

    Raises:
        ValueError: for an argument out of range, or one without effect: `decoupled` without weight_decay,
            `momentum_after` without momentum, and `momentum_after` or `error_feedback` without a compressor.
        RuntimeError: in `step`, for a sparse gradient.

    >>> import torch
    >>> from sign_ablate.optim.compressors import ScaledSign
    >>> x = torch.nn.Parameter(torch.tensor([4.0, -1.0]))
    >>> optimizer = CompressedSGD([x], lr=0.5, compressor=ScaledSign(), error_feedback=True)
    >>> (x.square().sum() / 2).backward()  # g = x, p = (2, -0.5), Δ = (1.25, -1.25)
    >>> optimizer.step()
    >>> x.tolist(), optimizer.state[x]["error"].tolist()
    ([2.75, 0.25], [0.75, 0.75])
    """

    options = CompressedSGDOptions

    @takes(CompressedSGDOptions)
    def __init__(self, params: ParamsT, options: CompressedSGDOptions) -> None:
        options = dataclasses.replace(options, compressor=_as_dict(options.compressor))
        self._start(params, options)

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group; its compressor may be a `Compressor` or its dict.

        Raises:
            ValueError: for an option out of range.
        """
        if isinstance(param_group, dict) and "compressor" in param_group:
            param_group = {**param_group, "compressor": _as_dict(param_group["compressor"])}
        super().add_param_group(param_group)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["compressor"] is not None:
            from_dict(group["compressor"])

    def _update(self, batch: Batch) -> None:
        group = batch.group
        x, lr, step = batch.x, rate(group), self._count(batch)
        u = self._gradients(batch, 0.0 if group["decoupled"] else group["weight_decay"])
        if group["decoupled"]:
            decay(x, group)
        if group["momentum"] and not group["momentum_after"]:
            u = self._heavy_ball(batch, u)
        if group["compressor"] is None:
            descend(x, u, lr)
            return
        error = self._buffers(batch, "error") if group["error_feedback"] else None
        if error is not None:
            descend(error, u, -lr)  # the buffer holds p = e + lr·u, until Δ leaves it below
            u, lr = error, 1.0
        sent = compressed(from_dict(group["compressor"]), u, step, batch)
        descend(x, self._heavy_ball(batch, sent) if group["momentum_after"] else sent, lr)
        if error is not None:
            torch._foreach_sub_(error, sent)

    def _heavy_ball(self, batch: Batch, u: list[Tensor]) -> list[Tensor]:
        v = self._buffers(batch, "momentum_buffer")
        torch._foreach_mul_(v, batch.group["momentum"])
        torch._foreach_add_(v, u)
        return v


def _as_dict(compressor: Any) -> Any:
    """Convert a compressor to a new dict with Python numbers. Other values, such as None, are unchanged."""
    if isinstance(compressor, Compressor):
        compressor = compressor.as_dict()
    return python_values(compressor) if isinstance(compressor, dict) else compressor
