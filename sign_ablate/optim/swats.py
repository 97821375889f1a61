"""SWATS, from Adam to SGD: Algorithm 1 of Keskar and Socher 2017, arXiv 1712.07628."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim import checks
from sign_ablate.optim.base import Batch, DeclaredOptimizer, Entry
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.flat import CHUNK, Flat
from sign_ablate.optim.ops import Group, rate, real
from sign_ablate.optim.options.swats import SWATSOptions
from sign_ablate.optim.sign_step import shards

#: for each parameter, p_kᵀp_k and −p_kᵀg_k of its Adam step p_k
Products = dict[Tensor, Tensor]
_NUMBERS = ("gamma", "lambda", "switched", "stepped", "ratio")


class SWATS(DeclaredOptimizer):
    """Adam until the learning rate that SGD would need has settled, then SGD with that rate.

    Adam takes the step p_k, and with k = 1, 2, … (Algorithm 1)

    - γ_k ← p_kᵀp_k / (−p_kᵀg_k): the rate at which SGD's step, projected on p_k, is p_k,
    - λ_k ← β₂λ_{k−1} + (1−β₂)γ_k; both stay where p_kᵀg_k = 0 or γ_k is not finite,
    - if k > 1 and |λ_k/(1−β₂ᵏ) − γ_k| < tol: Λ ← λ_k/(1−β₂ᵏ), and SGD from the next step on.

    SGD is v ← β₁v + g from v = 0, x ← x − (1−β₁)Λv. Here m ← β₁m + (1−β₁)g, restarted at 0, equals (1−β₁)v.
    Λ follows the schedule: a later lr scales it by lr over the lr at the switch. A negative Λ, which the
    paper does not exclude, would ascend: no switch. The phase is kept on the device and no step waits for
    it, so the SGD phase computes Adam's update as well. All parameters must be on one device.

    Groups of the global scope keep the relation of their learning rates: SGD steps with Λ_i = ρ·lr_i in
    group i. That step, projected on p_k, is p_k where ρ_k = p_kᵀp_k / −Σ_i lr_i·p_{k,i}ᵀg_{k,i}. λ_k
    averages γ_k = ρ_k·max_i lr_i, and tol applies to it; with a single lr it is the γ_k above. A tensor whose
    products are not finite is left out of the sums, so that it does not keep the others from their switch.

    Raises:
        ValueError: for an argument out of range; in `load_state_dict`, for a phase without its numbers.
        RuntimeError: in `step`, for a sparse gradient.

    >>> x = torch.nn.Parameter(torch.tensor([2.0]))
    >>> optimizer = SWATS([x], lr=0.1, tol=1.0)  # a tolerance that the second step meets
    >>> for _ in range(3):
    ...     x.grad = x.detach().clone()
    ...     optimizer.step()
    >>> optimizer.diagnostics()["phase"].item()
    1.0
    """

    #: names of the phases before and after the switch
    phases = ("adam", "sgd")

    options = SWATSOptions

    @takes(SWATSOptions)
    def __init__(self, params: ParamsT, options: SWATSOptions) -> None:
        # In the group, which load_state_dict does not cast: k, and for each tensor γ_k, λ_k, the phases of
        # the next and of the last step, and Λ/lr at its switch.
        self._start(params, options, step=0, **dict.fromkeys(_NUMBERS))

    def _check(self, group: Group) -> None:
        super()._check(group)
        checks.devices("SWATS", [*vars(self).get("param_groups", ()), group])

    def __setstate__(self, state: dict[str, Any]) -> None:
        checks.saved("SWATS", state["param_groups"], [key for key in _NUMBERS if key != "stepped"])
        super().__setstate__(state)

    def _advance(self, entries: list[Entry]) -> None:
        if not entries:
            return
        groups = [group for group in self.param_groups if group["params"]]
        for group in groups:
            self._place(group, senior=groups[0])
        batches = list(self._batches(entries))
        products: Products = {}
        for batch in batches:
            found = self._update(batch)
            products |= {entry.p: row for entry, row in zip(batch.entries, found.unbind(), strict=True)}
        switched = self._track(groups, products)
        for batch in batches:
            self._restart(batch, switched[id(batch.group)])
        for p, group, number, slot in self._parameters():
            if p in self.state and p not in products:
                self._restart(Batch(group, [Entry(p, group, number, slot)]), switched[id(group)])

    @staticmethod
    def _place(group: Group, senior: Group) -> None:
        """Create the group's numbers, or move those of a checkpoint to the parameters' device."""
        first = group["params"][0]
        if group["switched"] is None:
            dtype = torch.promote_types(real(first).dtype, torch.float32)
            zeros = torch.zeros(len(group["params"]), dtype=dtype, device=first.device)
            group.update(gamma=zeros, ratio=zeros, switched=zeros.bool(), stepped=zeros.bool())
            group["lambda"] = zeros
            if group["scope"] == "global" and senior is not group:  # a group added later
                group["step"] = senior["step"]
                for key in _NUMBERS:
                    group[key] = senior[key][0].to(group[key]).expand_as(group[key]).clone()
        if group["stepped"] is None:  # a state dict saved before `stepped` was added
            group["stepped"] = group["switched"]
        for key in _NUMBERS:
            group[key] = group[key].to(first.device)

    def _update(self, batch: Batch) -> Tensor:
        """Take Adam's step or SGD's. Returns p_kᵀp_k and −p_kᵀg_k, one row per parameter."""
        group, x, k = batch.group, batch.x, self._count(batch)
        g = self._gradients(batch, group["weight_decay"])
        m, a = self._buffers(batch, "exp_avg"), self._buffers(batch, "exp_avg_sq")
        beta1, beta2 = group["betas"]
        lr = rate(group)
        torch._foreach_lerp_(m, g, 1 - beta1)
        torch._foreach_mul_(a, beta2)
        torch._foreach_addcmul_(a, g, g, value=1 - beta2)
        denominator = torch._foreach_sqrt(a)
        torch._foreach_div_(denominator, math.sqrt(1 - beta2**k))
        torch._foreach_add_(denominator, group["eps"])
        adam = list(torch._foreach_div(m, denominator))
        torch._foreach_mul_(adam, lr / (1 - beta1**k))
        switched, factor = _of(batch, group["switched"]), _of(batch, group["ratio"]) * lr
        flat = Flat(x, CHUNK)
        if len(x) == 1:
            chosen = [torch.where(switched[0], m[0] * factor[0], adam[0])]
        else:
            sgd = (flat.cat(m) * flat.spread(factor)).to(m[0].dtype)
            chosen = flat.split(torch.where(flat.spread(switched), sgd, flat.cat(adam)))
        torch._foreach_sub_(x, chosen)
        return shards.reduced([entry.p for entry in batch.entries], _products(adam, g, flat, factor.dtype))

    def _restart(self, batch: Batch, switched: Tensor) -> None:
        """Set the momentum to 0 where a tensor has switched."""
        m, now = self._buffers(batch, "exp_avg"), _of(batch, switched)
        if len(m) == 1:
            m[0].masked_fill_(now[0], 0)
        else:
            flat = Flat(m)
            torch._foreach_copy_(m, flat.split(flat.cat(m).masked_fill_(flat.spread(now), 0)))

    def _track(self, groups: list[Group], products: Products) -> dict[int, Tensor]:
        """Update γ, λ and the phase. The parameters have moved: a switch acts from the next step on.

        Returns for each group, by its id, a mask of the tensors that switch now.
        """
        zero = torch.zeros_like(groups[0]["lambda"][0]).expand(2)
        unit = _largest_rate(groups)
        sums, joint = [], []
        for group in groups:
            own = torch.stack([products.get(p, zero) for p in group["params"]], dim=1)  # 2 × tensors
            sums.append(torch.where(own.isfinite().all(0), own, 0))
            if _is_global(group):
                pp, pg = sums[-1].sum(1)
                joint.append(torch.stack([pp, pg * (rate(group) / unit)]))
        switched = {}
        for group, own in zip(groups, sums, strict=True):
            group["step"] += 1
            both = own
            if _is_global(group):
                both = torch.stack(joint).sum(0).to(own.dtype)[:, None].expand_as(own)
            reference = unit if _is_global(group) else rate(group)
            switched[id(group)] = self._trigger(group, both[0], both[1], reference)
        return switched

    @staticmethod
    def _trigger(group: Group, pp: Tensor, pg: Tensor, unit: float | Tensor) -> Tensor:
        """Update γ (relative to `unit`), λ and Λ of a group. Returns a mask of tensors that switch now."""
        beta2, k = group["betas"][1], group["step"]
        gamma = pp / pg
        tracked = (pg != 0) & gamma.isfinite() & ~group["switched"]
        gamma = torch.where(tracked, gamma, group["gamma"])
        group["gamma"] = gamma
        group["lambda"] = torch.where(tracked, beta2 * group["lambda"] + (1 - beta2) * gamma, group["lambda"])
        mean = group["lambda"] / (1 - beta2**k)
        just = tracked & ((mean - gamma).abs() < group["tol"]) & (mean > 0)
        if k == 1:  # λ_1/(1−β₂) is γ_1 itself
            just = torch.zeros_like(just)
        relative = (mean / unit).nan_to_num(posinf=0.0)  # lr = 0: a frozen tensor stays so
        group["ratio"] = torch.where(just, relative, group["ratio"])
        group["stepped"], group["switched"] = group["switched"], group["switched"] | just
        return just

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """`phase` of the last step (0 Adam, 1 SGD), `gamma_k`, and `lambda_bar`, λ_k/(1−β₂ᵏ) or in SGD Λ.

        Means over the tensors, as 0-dim tensors on their device.
        """
        groups = [group for group in self.param_groups if group["switched"] is not None]
        if not groups:
            return {}
        unit, gammas, bars = _largest_rate(groups), [], []
        for group in groups:
            share = rate(group) / unit if _is_global(group) else 1.0
            mean = group["lambda"] * share / (1 - group["betas"][1] ** group["step"])
            gammas.append(group["gamma"] * share)
            bars.append(torch.where(group["switched"], group["ratio"] * rate(group), mean))
        return {
            "phase": torch.cat([group["stepped"] for group in groups]).float().mean(),
            "gamma_k": torch.cat(gammas).mean(),
            "lambda_bar": torch.cat(bars).mean(),
        }


def _of(batch: Batch, values: Tensor) -> Tensor:
    """Select the values of a batch's parameters from those of its group."""
    slots = [entry.slot for entry in batch.entries]
    return values if slots == list(range(len(values))) else torch.stack([values[slot] for slot in slots])


def _products(adam: list[Tensor], g: list[Tensor], flat: Flat, dtype: torch.dtype) -> Tensor:
    """‖p‖² and pᵀg of each tensor; on a CPU bit for bit those of a tensor alone."""
    if len(adam) > 1 and adam[0].device.type != "cpu":
        p = flat.cat(adam)
        return flat.sums(torch.stack([p * p, p * flat.cat(g)]).to(dtype)).T
    pairs = zip(adam, g, strict=True)
    sums = [(p.square().sum(dtype=dtype), (p * g).sum(dtype=dtype)) for p, g in pairs]
    return torch.stack([torch.stack(pair) for pair in sums])


def _is_global(group: Group) -> bool:
    return bool(group["scope"] == "global")


def _largest_rate(groups: list[Group]) -> float | Tensor:
    """The largest learning rate of the global scope, 1 if all are 0. No wait for the device."""
    rates = [rate(group) for group in groups if _is_global(group)]
    tensors = [lr for lr in rates if isinstance(lr, Tensor)]
    if not tensors:
        return max([float(lr) for lr in rates], default=0.0) or 1.0
    largest = torch.stack([torch.zeros_like(tensors[0]) + lr for lr in rates]).amax()
    return torch.where(largest > 0, largest, 1)
