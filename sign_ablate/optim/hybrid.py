"""SignSGD-M that hands over to SGD: Algorithm 2 and equations (11), (12) of arXiv 2604.25550."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim.signsgd import SignSGD, Site, coupled, decay_decoupled, sign


class HybridSignSGD(SignSGD):
    """SignSGD-M for `switch_step` steps, then SGD with the calibrated learning rate λ̄.

    In the sign phase λ_k = δ·|⟨sign(m_{k+1}), g⟩| / (‖g‖² + ϵ) over all parameters (eq. 12). What is
    averaged is r_k = λ_k/δ_k, and SGD steps with λ̄ = lr·r̄: where a scheduler changes lr, before the
    switch or after, λ̄ follows, and `group["lr"]` is never overwritten. The average r̄ is corrected for
    its start at 0 (Algorithm 2 is not: a switch within the first 1/(1−η) steps would come out too small).

    Args:
        switch_step: T_switch in optimizer steps; 0 is SGD from the start with λ̄ = lr.
        eta: decay η of the average, in [0, 1).
        eps: ϵ of eq. (12).
        calibrate: False is the naive hand-off: no projection, SGD steps with `sgd_lr`.
        sgd_lr: learning rate at the naive hand-off, following lr's schedule; None reuses δ.

    Raises:
        ValueError: for an argument out of range, or `sgd_lr` with `calibrate`.

    The other arguments are SignSGD's; its dither acts in the sign phase and leaves λ_k as it is.
    """

    #: before and after the switch
    phases = ("sign", "sgd")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        beta: float = 0.9,
        *,
        switch_step: int,
        eta: float = 0.999,
        eps: float = 1e-12,
        calibrate: bool = True,
        sgd_lr: float | None = None,
        weight_decay: float = 0.0,
        decoupled: bool = True,
        dither: Site | None = None,
        alpha: float = 0.0,
        gamma: float = 0.55,
        seed: int = 0,
    ) -> None:
        if switch_step < 0:
            raise ValueError(f"switch_step must be at least 0, got {switch_step}")
        if not 0 <= eta < 1:
            raise ValueError(f"eta must be in [0, 1), got {eta}")
        if eps < 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        if sgd_lr is not None and calibrate:
            raise ValueError("sgd_lr has no effect with calibrate=True")
        super().__init__(
            params, lr, beta, weight_decay=weight_decay, decoupled=decoupled,
            dither=dither, alpha=alpha, gamma=gamma, seed=seed,
            switch_step=switch_step, eta=eta, eps=eps, calibrate=calibrate,
            naive_ratio=1.0 if sgd_lr is None else sgd_lr / lr,
            ratio_ema=None, ratio_last=None,
        )  # fmt: skip

    def _in_sgd_phase(self, group: dict[str, Any], step: int) -> bool:
        return bool(step >= group["switch_step"])

    def _before_step(self) -> None:
        """Update momenta and λ̄: eq. (12) sums over all parameters, so before any of them moves."""
        first = self.param_groups[0]
        if self._in_sgd_phase(first, first["step"]):
            return
        dots, squares = [], []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    m, g = super()._momentum(p, group), coupled(p, group)
                    dots.append((sign(m) * g).sum(dtype=torch.float32))
                    squares.append(g.square().sum(dtype=torch.float32))
        if not dots or not first["calibrate"]:
            return
        ratio = torch.stack(dots).sum().abs() / (torch.stack(squares).sum() + first["eps"])
        average = torch.zeros_like(ratio) if first["ratio_ema"] is None else first["ratio_ema"]
        average = average.lerp(ratio, 1 - first["eta"])
        for group in self.param_groups:
            group["ratio_last"], group["ratio_ema"] = ratio, average

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        return self.state[p]["momentum_buffer"] if group["beta"] else coupled(p, group)

    def _update(self, p: Tensor, index: int, group: dict[str, Any]) -> None:
        if not self._in_sgd_phase(group, group["step"]):
            super()._update(p, index, group)
            return
        g = coupled(p, group)
        decay_decoupled(p, group)
        p.sub_(g * (group["lr"] * _ratio(group)))

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """As SignSGD's, with `lambda_k` λ_k, `lambda_bar` λ̄, and `phase`: 0 sign, 1 SGD."""
        group = self.param_groups[0]
        if group["step"] == 0:
            return {}
        out = super().diagnostics()
        in_sgd = self._in_sgd_phase(group, group["step"] - 1)
        out["phase"] = float(in_sgd)
        if group["ratio_last"] is not None:
            if not in_sgd:
                out["lambda_k"] = group["ratio_last"] * group["lr"]
            out["lambda_bar"] = _ratio(group) * group["lr"]
        return out


def _ratio(group: dict[str, Any]) -> Tensor | float:
    """λ̄/δ: bias-corrected average, or the naive hand-off's constant."""
    if group["ratio_ema"] is None:
        ratio: float = group["naive_ratio"]
        return ratio
    steps = min(group["step"], group["switch_step"])
    corrected: Tensor = group["ratio_ema"] / (1 - group["eta"] ** max(steps, 1))
    return corrected
