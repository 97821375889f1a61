"""SignSGD with momentum and dither: Algorithm 1 and equations (9), (10) of arXiv 2604.25550."""

import math
from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from sign_ablate.optim import noise

Site = Literal["pre", "post"]


class SignSGD(Optimizer):
    """SignSGD, SignSGD-M and their dithered forms.

    m ← βm + (1−β)g, then one of

    - x ← x − δ·sign(m)              (no dither),
    - x ← x − δ·sign(m + ξ)          (`dither="pre"`, Algorithm 1),
    - x ← x − δ·(sign(m) + ξ)        (`dither="post"`, eq. 10),

    with ξ ~ N(0, σ_k²), σ_k² = α(1+k)^−γ (eq. 9) and k the step. β = 0 is SignSGD.

    Args:
        params: parameters or parameter groups.
        lr: step size δ.
        beta: momentum β in [0, 1).
        weight_decay: decoupled, x ← (1 − δ·weight_decay)x; or, with `decoupled=False`, added to g.
        dither: None, "pre" or "post".
        alpha: dither variance α at k = 0.
        gamma: annealing exponent γ.
        seed: seed of the dither.

    Raises:
        ValueError: for an argument out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        beta: float = 0.9,
        *,
        weight_decay: float = 0.0,
        decoupled: bool = True,
        dither: Site | None = None,
        alpha: float = 0.0,
        gamma: float = 0.55,
        seed: int = 0,
        **more: Any,
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr must be at least 0, got {lr}")
        if not 0 <= beta < 1:
            raise ValueError(f"beta must be in [0, 1), got {beta}")
        if weight_decay < 0:
            raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
        if dither not in (None, "pre", "post"):
            raise ValueError(f"dither must be None, 'pre' or 'post', got {dither!r}")
        if alpha < 0 or gamma < 0:
            raise ValueError(f"alpha and gamma must be at least 0, got {alpha} and {gamma}")
        defaults = {
            "lr": lr,
            "beta": beta,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "dither": dither,
            "alpha": alpha,
            "gamma": gamma,
            "seed": seed,
            "step": 0,  # in the group: load_state_dict keeps it as it is
            **more,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step. Returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        index = 0
        self._before_step()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, index, group)
                index += 1
        for group in self.param_groups:
            group["step"] += 1
        return loss

    def _before_step(self) -> None:
        """For a subclass that needs a pass over all parameters first."""

    def _update(self, p: Tensor, index: int, group: dict[str, Any]) -> None:
        m = self._momentum(p, group)
        step = sign(m)
        sigma = sigma_k(group)
        if sigma > 0:
            step = _dithered(m, index, group, group["step"])
        decay_decoupled(p, group)
        p.sub_(step.mul_(group["lr"]))

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        """m_{k+1}, updated in place."""
        g = coupled(p, group)
        if group["beta"] == 0:
            return g
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        m: Tensor = state["momentum_buffer"]
        return m.lerp_(g, 1 - group["beta"])

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """What the last step looked like, computed afterwards from the state: no cost in `step`.

        Returns 0-dim tensors on the parameters' device: `sigma` σ_k; `momentum_rms`, the rms of m;
        `flip_fraction`, the fraction of coordinates whose sign the dither changed.
        """
        group = self.param_groups[0]
        out: dict[str, Tensor | float] = {}
        if group["step"] == 0 or self._in_sgd_phase(group, group["step"] - 1):
            return out
        squares, flips, count = [], [], 0
        index = 0
        for group in self.param_groups:
            last = group["step"] - 1
            for p in group["params"]:
                m = self.state[p].get("momentum_buffer") if p in self.state else p.grad
                if m is not None and p.grad is not None:
                    count += m.numel()
                    squares.append(m.float().square().sum())
                    if sigma_k(group, last) > 0:
                        stepped = torch.sign(_dithered(m, index, group, last))
                        flips.append((stepped != torch.sign(m)).sum())
                index += 1
        out["momentum_rms"] = (torch.stack(squares).sum() / count).sqrt()
        group = self.param_groups[0]
        if group["dither"] is not None:
            out["sigma"] = sigma_k(group, group["step"] - 1)
            out["flip_fraction"] = torch.stack(flips).sum() / count if flips else 0.0
        return out

    def _in_sgd_phase(self, group: dict[str, Any], step: int) -> bool:
        return False


def sigma_k(group: dict[str, Any], step: int | None = None) -> float:
    """σ_k of eq. (9), 0 without dither."""
    if group["dither"] is None:
        return 0.0
    k = group["step"] if step is None else step
    return math.sqrt(group["alpha"] * (1 + k) ** -group["gamma"])


def sign(m: Tensor) -> Tensor:
    """sign(m), except that NaN stays NaN and ±inf becomes NaN: `torch.sign(nan)` is 0 and would hide it."""
    return torch.sign(m) + (m - m)


def _dithered(m: Tensor, index: int, group: dict[str, Any], step: int) -> Tensor:
    sigma = sigma_k(group, step)
    xi = noise.normal(m.shape, group["seed"], step, index, m.device).mul_(sigma)
    return sign(m + xi) if group["dither"] == "pre" else sign(m) + xi


def coupled(p: Tensor, group: dict[str, Any]) -> Tensor:
    """The gradient, with coupled weight decay added."""
    assert p.grad is not None
    if group["weight_decay"] and not group["decoupled"]:
        return p.grad.add(p, alpha=group["weight_decay"])
    return p.grad


def decay_decoupled(p: Tensor, group: dict[str, Any]) -> None:
    """x ← (1 − δ·weight_decay)x."""
    if group["weight_decay"] and group["decoupled"]:
        p.mul_(1 - group["lr"] * group["weight_decay"])
