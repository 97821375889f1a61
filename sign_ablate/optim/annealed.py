"""Base class of the optimizers other than SignSGD that have annealed noise, with σ_k of eq. (9)."""

from typing import Any

import torch
from torch import Tensor

from sign_ablate.optim.base import Batch, DeclaredOptimizer, Entry
from sign_ablate.optim.ops import Group, local
from sign_ablate.optim.sign_step import shards
from sign_ablate.optim.sign_step.inputs import Item, annealed


class AnnealedOptimizer(DeclaredOptimizer):
    """An optimizer that uses σ_k = √(α(1+k)^−γ), with k counted in the groups.

    Its random words equal SignSGD's dither words with the same seed, step and parameter.
    """

    def _start(self, params: Any, options: Any, **state: Any) -> None:
        super()._start(params, options, step=0, **state)

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group. It takes the step count of the other groups."""
        super().add_param_group(param_group)
        self.param_groups[-1]["step"] = self.param_groups[0]["step"]

    def _advance(self, entries: list[Entry]) -> None:
        super()._advance(entries)
        for group in self.param_groups:
            group["step"] += 1

    def _items(self, batch: Batch, g: list[Tensor], buffer: str | None) -> list[Item]:
        """Items of the parameters with g and the state `buffer`, in the order that numbers the noise."""
        m: list[Any] = [None] * len(g) if buffer is None else self._buffers(batch, buffer)
        items = []
        for (p, _, number, slot), *own in zip(batch.entries, batch.x, g, m, strict=True):
            shards.check_block(p)
            items.append(shards.item(p, own[0], own[1], own[2], number, slot))
        return items

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """Diagnostics of the last step: `sigma`, the mean σ_k of the groups, and `momentum_rms`.

        The rms of a sharded parameter (FSDP2) is that of this rank's part.
        """
        groups = self.param_groups
        if groups[0]["step"] == 0:
            return {}
        sigmas = [annealed(group, group["step"] - 1) for group in groups]
        out: dict[str, Tensor | float] = {"sigma": sum(sigmas) / len(sigmas)}
        buffers = [s["momentum_buffer"] for s in self.state.values() if "momentum_buffer" in s]
        parts = [local(m) for m in buffers]
        count = sum(m.numel() for m in parts)
        if count:
            squares = torch.stack([m.abs().float().square().sum() for m in parts])
            out["momentum_rms"] = (squares.sum() / count).sqrt()
        return out
