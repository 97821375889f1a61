"""SignSGD with momentum and dither: Algorithm 1 and equations (9), (10) of arXiv 2604.25550."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _default_to_fused_or_foreach,
    _use_grad_for_differentiable,
)

from sign_ablate.optim import checks, diagnostics, layout
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.options.signsgd import SignSGDOptions
from sign_ablate.optim.sign_step import fused, plain, shards, triton_step
from sign_ablate.optim.sign_step.inputs import Item, Rule, delta, sigma_k, work_dtype

#: refuses a step that is captured into a graph without `capturable`; renamed after torch 2.11
_HEALTH_CHECK: Callable[[Optimizer], None] = getattr(
    Optimizer, "_accelerator_graph_capture_health_check", None
) or getattr(Optimizer, "_cuda_graph_capture_health_check")  # noqa: B009
#: (parameter, local parameter, its gradient, its momentum, number, number in the group)
Work = tuple[Tensor, Tensor, Tensor, Tensor | None, int, int]


class SignSGD(Optimizer):
    """SignSGD, SignSGD-M and their dithered forms.

    m ← βm + (1−β)g, then one of

    - x ← x − δ·sign(m)              (no dither),
    - x ← x − δ·sign(m + ξ)          (`dither="pre"`, Algorithm 1),
    - x ← x − δ·(sign(m) + ξ)        (`dither="post"`, eq. 10),

    with ξ ~ N(0, σ_k²), σ_k² = α(1+k)^−γ (eq. 9) and k the step. β = 0 is SignSGD.
    Where m is not finite the parameter becomes NaN: `torch.sign(nan)` is 0 and would hide a divergence.

    Args:
        params: parameters, named parameters, or parameter groups.
        lr: step size δ.
        beta: momentum β in [0, 1).
        weight_decay: decoupled, x ← (1 − δ·weight_decay)x; or, with `decoupled=False`, added to g.
        decoupled: how weight decay acts.
        momentum_form: "ema", or "heavy_ball" m ← βm + g (only absolute pre-sign dither sees a difference).
        loss_scale: multiplies g. The batch size turns the gradient of a mean loss into that of a sum.
        momentum_dtype: None for the parameter's, or "bfloat16" for float32 and float64 parameters.
        sign_of_zero: sign(0): "zero", "plus" (+1) or "random" (±1 evenly).
        dither: None, "pre" or "post".
        alpha: dither variance α at k = 0.
        gamma: annealing exponent γ.
        law: "gaussian"; "uniform" on ±A, A = √3·σ_k (the same variance; E sign(m+ξ) = m/A exactly
            where |m| ≤ A); "subtractive": uniform, and ξ/A subtracted again after the sign.
        scale: what σ_k multiplies: 1 ("absolute", the paper), or the rms of m over all parameters
            ("global_rms") or over each tensor ("tensor_rms").
        k_unit: k in eq. (9) counts "step" or "epoch".
        steps_per_epoch: for `k_unit="epoch"`.
        seed: seed of all noise. Two optimizers with one seed draw the same: give each its own.
        stochastic_rounding: round bfloat16 parameters up or down at random, with the right mean, so
            that steps below half a unit in the last place are not lost.
        maximize: ascend.
        foreach: torch's foreach functions; by default where torch's own optimizers use them (CUDA).
        fused: the step in one pass, compiled C on a CPU and a Triton kernel on a CUDA device; by default
            where it applies (dense float32 on the CPU; dense float32 or bfloat16 on CUDA).
        differentiable: let autograd record the step.
        capturable: keep the step on the device, for CUDA graphs and torch.compile.

    Raises:
        ValueError: for an argument out of range, or one that has no effect beside the others.
        RuntimeError: in `step`, for a sparse gradient, a gradient or state of another shape than its
            parameter, or `fused=True` where it does not apply.

    >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = SignSGD([x], lr=0.5, beta=0.9)
    >>> x.grad = torch.tensor([0.1, -40.0])
    >>> optimizer.step()
    >>> x.tolist()
    [0.5, -1.5]
    """

    options: ClassVar[type] = SignSGDOptions

    @takes(SignSGDOptions)
    def __init__(self, params: ParamsT, options: SignSGDOptions) -> None:
        self._start(params, options)

    def _start(self, params: ParamsT, options: Any, **state: Any) -> None:
        """Check and take the options of this class or a subclass: the defaults of every group."""
        defaults = {**vars(options), **state}
        self._check({**defaults, "params": []})
        super().__init__(params, {**defaults, "step": 0})  # in the group: load_state_dict keeps it as it is
        checks.effects(self.options, self.param_groups)
        for group in self.param_groups:
            if group["stochastic_rounding"] and all(p.dtype != torch.bfloat16 for p in group["params"]):
                raise ValueError("stochastic_rounding has no effect without bfloat16 parameters")

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError for an option of a group that is out of range or that others exclude."""
        checks.group(self.options, group)
        if group["fused"]:
            for other in ("foreach", "differentiable", "capturable"):
                if group[other]:
                    raise ValueError(f"fused and {other} cannot both be True")
        if group["foreach"] and group["differentiable"]:
            raise ValueError("foreach and differentiable cannot both be True")
        if group["momentum_dtype"] and any(
            p.dtype in (torch.float16, torch.bfloat16) for p in group["params"]
        ):
            raise ValueError("momentum_dtype 'bfloat16' is for float32 and float64 parameters")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; it joins the others at their step."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check(group)
        except ValueError:
            del self.param_groups[-1]
            raise
        group["step"] = self.param_groups[0]["step"]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step. Returns the closure's loss, if one is given."""
        _HEALTH_CHECK(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._observe(loss)
        groups = zip(self.param_groups, self._collect(), strict=True)
        todo = [(group, work, self._rule(group)) for group, work in groups if work]
        if any(group["scale"] != "absolute" and group["alpha"] for group, _, _ in todo):
            todo = shards.relative(todo)
        self._track([(group, work, self._run(work, rule, group)) for group, work, rule in todo])
        self._finish()
        return loss

    def _observe(self, loss: Any) -> None:
        """For a subclass that watches the loss."""

    def _track(self, results: list[tuple[dict[str, Any], list[Work], list[Any]]]) -> None:
        """For a subclass that tracks λ: the last item has ⟨s, g⟩, ‖g‖² and ‖s‖² of each parameter."""

    def _finish(self) -> None:
        step = self.param_groups[0]["step"]
        if isinstance(step, Tensor):
            step.add_(1)
        else:
            step += 1
        for group in self.param_groups:
            group["step"] = step

    def _collect(self) -> list[list[Work]]:
        """What there is to do in each group: parameters with a gradient, and their momenta."""
        out, index = [], 0
        for group in self.param_groups:
            work: list[Work] = []
            for slot, p in enumerate(group["params"]):
                if p.grad is not None:
                    if p.grad.layout != torch.strided:
                        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                    layout.check_shape("gradient", p.grad, p)
                    m = self._momentum(p, group) if group["beta"] else None
                    whole = type(p) is nn.Parameter and not p.is_complex()
                    local = (p, p.grad, m) if whole else shards.local(p, p.grad, m)
                    work.append((p, *local, index, slot))
                index += 1
            out.append(work)
        return out

    def _momentum(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[p]
        dtype = torch.bfloat16 if group["momentum_dtype"] and not p.is_complex() else p.dtype
        m = state.get("momentum_buffer")
        if m is None:
            m = state["momentum_buffer"] = torch.zeros_like(p, dtype=dtype, requires_grad=False)
            return m
        layout.check_shape("momentum_buffer", m, p)
        # load_state_dict has cast it to the parameter's dtype, without loss, and kept the layout that it had
        if m.dtype != dtype or m.stride() != p.stride():
            fitting = torch.empty_like(p, dtype=dtype, requires_grad=False)
            if m.dtype != dtype or m.stride() != fitting.stride():
                m = state["momentum_buffer"] = fitting.copy_(m)
        return m

    def _rule(self, group: dict[str, Any], **more: Any) -> Rule:
        """The constants of this step. In the capturable form they are tensors."""
        device = group["params"][0].device if group["params"] else None
        if group["capturable"] and not isinstance(group["step"], Tensor):
            shared = torch.tensor(self.param_groups[0]["step"], dtype=torch.int64, device=device)
            for other in self.param_groups:
                other["step"] = shared
        lr = delta(group)
        decayed, decoupled = group["weight_decay"], group["decoupled"]
        return Rule(
            lr=lr,
            beta=group["beta"],
            heavy_ball=group["momentum_form"] == "heavy_ball",
            decay=1 - lr * decayed if decayed and decoupled else None,
            coupled=0.0 if decoupled else decayed,
            scale=-group["loss_scale"] if group["maximize"] else group["loss_scale"],
            zero=group["sign_of_zero"],
            site=group["dither"],
            law=group["law"],
            sigma=sigma_k(group),
            seed=group["seed"],
            step=group["step"],
            stochastic=group["stochastic_rounding"],
            **more,
        )

    def _run(self, work: list[Work], rule: Rule, group: dict[str, Any]) -> list[Any]:
        """Step every parameter by the implementation that is asked for, or else the best that applies."""
        sums: list[Any] = [None] * len(work)
        rest = list(range(len(work)))
        if group["fused"] or (group["fused"] is None and group["foreach"] is None):
            rest = self._run_fused(work, rule, group, sums)
        items = [(i, shards.item(*work[i])) for i in rest if work[i][1].numel()]
        foreach = group["foreach"]
        if foreach is None and group["fused"] is None and items:
            foreach = _default_to_fused_or_foreach([x.p for _, x in items], group["differentiable"])[1]
        if foreach and isinstance(rule.phase, bool):
            items = _multi_tensor_signsgd(items, rule, sums)
        for i, x in items:
            sums[i] = plain.step_item(x, rule)
        return sums

    def _run_fused(self, work: list[Work], rule: Rule, group: dict[str, Any], sums: list[Any]) -> list[int]:
        """Step what a compiled step takes, in C or by Triton. Returns the numbers of the others."""
        rest, chosen = list(range(len(work))), []
        for compiled in (fused, triton_step):
            if group["differentiable"] or torch.compiler.is_compiling() or not compiled.takes_rule(rule):
                continue
            mine = [
                i for i in rest if work[i][0] is work[i][1] and compiled.takes_tensors(*work[i][1:4])
            ]  # fmt: skip
            rest = [i for i in rest if i not in set(mine)]
            chosen.append((compiled, mine))
        if group["fused"] and rest and rule.phase is False:
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors: dense float32 on the "
                "CPU, a rule without rms, zero or heavy-ball options, and a C compiler; or dense float32 or "
                "bfloat16 on a CUDA device, and Triton"
            )
        for compiled, mine in chosen:
            found = compiled.step([work[i][1:] for i in mine], rule) if mine else []
            for i, value in zip(mine, found, strict=True):
                sums[i] = value
        return rest

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """What the last step looked like, computed afterwards from the state: no cost in `step`.

        Returns 0-dim tensors on the parameters' device: `sigma` σ_k; `momentum_rms`, the rms of m;
        `flip_fraction`, the fraction of coordinates whose sign the dither changed.
        """
        step = self.param_groups[0]["step"]
        if not isinstance(step, Tensor) and step == 0:
            return {}
        groups = zip(self.param_groups, self._collect(), strict=True)
        return diagnostics.of_step(
            [(group, work, SignSGD._rule(self, group)) for group, work in groups if work]
        )


def _multi_tensor_signsgd(
    items: Iterable[tuple[int, Item]], rule: Rule, sums: list[Any]
) -> list[tuple[int, Item]]:
    """Step by foreach what it can; returns the rest: 16-bit parameters and momenta, and noise on a CPU.

    Noise needs temporaries many times the size of a parameter, which a CPU is faster without.
    """
    noisy = not rule.phase and (rule.site is not None or rule.zero == "random")
    lists: dict[Any, list[tuple[int, Item]]] = {}
    rest: list[tuple[int, Item]] = []
    for i, x in items:
        same = x.p.dtype == work_dtype(x.p) == x.g.dtype and (x.m is None or x.m.dtype == x.p.dtype)
        same = same and not (noisy and x.p.device.type == "cpu")
        (lists.setdefault((x.p.device, x.p.dtype), []) if same else rest).append((i, x))
    for chosen in lists.values():
        if rule.phase:
            plain.sgd_foreach([x for _, x in chosen], rule)
            continue
        found = plain.step_foreach([x for _, x in chosen], rule)
        for (i, _), value in zip(chosen, found, strict=True):
            sums[i] = value
    return rest
