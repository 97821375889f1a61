"""SignSGD with momentum and dither: Algorithm 1 and equations (9), (10) of arXiv 2604.25550."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT, _default_to_fused_or_foreach

from sign_ablate.optim import diagnostics, layout
from sign_ablate.optim.base import DeclaredOptimizer, Entry
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import Group, rate
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.options.signsgd import SignSGDOptions
from sign_ablate.optim.sign_step import foreach as many
from sign_ablate.optim.sign_step import fused, plain, shards, triton_step
from sign_ablate.optim.sign_step.inputs import Item, StepConstants, sigma_k, work_dtype

#: (parameter, local parameter, its gradient, its momentum, number, number in the group)
Work = tuple[Tensor, Tensor, Tensor, Tensor | None, int, int]


class SignSGD(DeclaredOptimizer):
    """SignSGD, SignSGD-M and their dithered forms.

    m ← βm + (1−β)g, then one of

    - x ← x − δ·sign(m)              (no dither),
    - x ← x − δ·sign(m + ξ)          (`dither="pre"`, Algorithm 1),
    - x ← x − δ·(sign(m) + ξ)        (`dither="post"`, eq. 10),

    with ξ ~ N(0, σ_k²), σ_k² = α(1+k)^−γ (eq. 9) and k the step. β = 0 is SignSGD.
    Where m is not finite the parameter becomes NaN: `torch.sign(nan)` is 0 and would hide a divergence.

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
        super()._start(params, options, step=0, **state)  # in the group: load_state_dict keeps it as it is
        rounded = [group["params"] for group in self.param_groups if group["stochastic_rounding"]]
        if rounded and all(p.dtype != torch.bfloat16 for params in rounded for p in params):
            raise ValueError("stochastic_rounding has no effect without bfloat16 parameters")

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["fused"]:
            for other in ("foreach", "differentiable"):
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
        self._bring()

    def _bring(self) -> None:
        """Move the state that the groups keep to the parameters' device: torch moves only its own entries."""
        device = next((p.device for group in self.param_groups for p in group["params"]), None)
        if device is None:
            return
        moved: dict[int, Tensor] = {}  # groups share tensors
        for group in self.param_groups:
            for key, value in group.items():
                if isinstance(value, Tensor) and key not in declared(self.options):
                    group[key] = moved.setdefault(id(value), value.to(device))

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group. It takes the step count of the other groups."""
        super().add_param_group(param_group)
        self.param_groups[-1]["step"] = self.param_groups[0]["step"]

    def _advance(self, entries: list[Entry]) -> None:
        groups = self._work(entries)
        layout.check_inference(t for _, work in groups for x in work for t in (x[0], x[3]))
        todo = self._with_constants(groups)
        self._track([(group, work, self._run(work, const, group)) for group, work, const in todo])
        self._finish()

    def _with_constants(self, groups: list[tuple[Group, list[Work]]]) -> list[shards.Todo]:
        """The groups and their `Work`, with the constants of this step."""
        todo = [(group, work, self._step_constants(group)) for group, work in groups]
        if any(group["scale"] != "absolute" and group["alpha"] for group, _, _ in todo):
            todo = shards.relative(todo)
        return todo

    def _track(self, results: list[tuple[Group, list[Work], list[Any]]]) -> None:
        """Hook for a subclass that tracks λ. The last items are ⟨s, g⟩, ‖g‖² and ‖s‖² of each parameter."""

    def _finish(self) -> None:
        step = self.param_groups[0]["step"]
        if isinstance(step, Tensor):
            step.add_(1)
        else:
            step += 1
        for group in self.param_groups:
            group["step"] = step

    def _work(self, entries: Iterable[Entry]) -> list[tuple[Group, list[Work]]]:
        """Work of each group that has parameters to update."""
        out: list[tuple[Group, list[Work]]] = []
        for p, group, number, slot in entries:
            m = self._momentum(p, group) if group["beta"] else None
            g: Any = m if p.grad is None else p.grad  # after a step gradients may be gone
            simple = type(p) is nn.Parameter and not p.is_complex()
            local = (p, g, m) if simple else shards.local(p, g, m)
            if not out or out[-1][0] is not group:
                out.append((group, []))
            out[-1][1].append((p, *local, number, slot))
        return out

    def _momentum(self, p: Tensor, group: Group) -> Tensor:
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

    def _step_constants(self, group: Group, **more: Any) -> StepConstants:
        """The constants of this step; with `capturable`, step and σ_k are tensors."""
        device = group["params"][0].device if group["params"] else None
        if group["capturable"] and not isinstance(group["step"], Tensor):
            shared = torch.tensor(self.param_groups[0]["step"], dtype=torch.int64, device=device)
            for other in self.param_groups:
                other["step"] = shared
        lr = rate(group)
        decayed, decoupled = group["weight_decay"], group["decoupled"]
        return StepConstants(
            lr=lr,
            beta=group["beta"],
            heavy_ball=group["momentum_form"] == "heavy_ball",
            decay=1 - lr * decayed if decayed and decoupled else None,
            coupled=0.0 if decoupled else decayed,
            factor=-group["loss_scale"] if group["maximize"] else group["loss_scale"],
            zero=group["sign_of_zero"],
            dither=group["dither"],
            law=group["law"],
            sigma=sigma_k(group),
            seed=group["seed"],
            step=group["step"],
            stochastic=group["stochastic_rounding"],
            **more,
        )

    def _run(self, work: list[Work], const: StepConstants, group: Group) -> list[Any]:
        """Step every parameter with the chosen implementation, by default the fastest that applies."""
        sums: list[Any] = [None] * len(work)
        rest = list(range(len(work)))
        if group["fused"] or (group["fused"] is None and group["foreach"] is None):
            rest = self._run_fused(work, const, group, sums)
        if const.noisy:
            for i in rest:
                shards.check_block(work[i][0])
        items = [(i, shards.item(*work[i])) for i in rest if work[i][1].numel()]
        foreach = group["foreach"]
        if foreach is None and group["fused"] is None and items:
            foreach = _default_to_fused_or_foreach([x.p for _, x in items], group["differentiable"])[1]
        if foreach and (
            isinstance(const.phase, bool) or not torch.compiler.is_compiling()
        ):  # it fuses itself
            items = _multi_tensor_signsgd(items, const, sums)
        for i, x in items:
            sums[i] = plain.step_item(x, const)
        return sums

    def _run_fused(self, work: list[Work], const: StepConstants, group: Group, sums: list[Any]) -> list[int]:
        """Step the parameters that a compiled step (C or Triton) supports. Returns the other indices."""
        rest, chosen = list(range(len(work))), []
        if group["fused"]:  # by default the plain step takes a gradient in another memory order
            work = [(p, x, layout.in_order_of(x, g), m, i, slot) for p, x, g, m, i, slot in work]
        for compiled in (fused, triton_step):
            if group["differentiable"] or torch.compiler.is_compiling() or not compiled.takes_step(const):
                continue
            mine = [
                i for i in rest if work[i][0] is work[i][1] and compiled.takes_tensors(*work[i][1:4])
            ]  # fmt: skip
            taken = set(mine)
            rest = [i for i in rest if i not in taken]
            chosen.append((compiled, mine))
        late = const.sgd_momentum and any(compiled is fused and mine for compiled, mine in chosen)
        if group["fused"] and (rest or late):
            if group["capturable"] and any(work[i][1].is_cpu for i in rest):
                raise RuntimeError(
                    "fused=True with capturable=True needs parameters on a CUDA device, got one on cpu: set "
                    "one of the two options to False"
                )
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors: dense float32 on the "
                "CPU, a C compiler, and options that step.c implements (docs/optim/signsgd.md; in an SGD "
                "phase, no sgd_momentum); or dense float32 or bfloat16 on a CUDA device, and Triton, "
                "whose driver needs a C compiler. Otherwise leave fused unset"
            )
        for compiled, mine in chosen:
            found = compiled.step([work[i][1:] for i in mine], const) if mine else []
            for i, value in zip(mine, found, strict=True):
                sums[i] = value
        return rest

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """Diagnostics of the last step, computed afterwards from the state, without cost in `step`.

        Returns 0-dim tensors on the parameters' device: `sigma` σ_k; `momentum_rms`, the rms of m;
        `flip_fraction`, the fraction of coordinates whose sign the dither changed. With β = 0 they are those
        of the gradients: call it before `zero_grad`, after which there are none. Of a sharded parameter
        (FSDP2) they measure this rank's part, so that ranks can call it alone.
        """
        step = self.param_groups[0]["step"]
        if not isinstance(step, Tensor) and step == 0:
            return {}
        stepped = [
            entry
            for entry in self._parameters()
            if (
                "momentum_buffer" in self.state.get(entry.p, {})
                if entry.group["beta"]
                else entry.p.grad is not None
            )
        ]
        groups = self._work(stepped)
        return diagnostics.of_step(
            [(group, work, SignSGD._step_constants(self, group)) for group, work in groups]
        )


def _multi_tensor_signsgd(
    items: Iterable[tuple[int, Item]], const: StepConstants, sums: list[Any]
) -> list[tuple[int, Item]]:
    """Step with foreach. Returns the items that it leaves out: 16-bit tensors, and noise on a CPU.

    Noise needs temporaries many times the size of a parameter, which slow a CPU down.
    """
    noisy = const.noisy and const.phase is not True
    lists: dict[Any, list[tuple[int, Item]]] = {}
    rest: list[tuple[int, Item]] = []
    for i, x in items:
        same = x.p.dtype == work_dtype(x.p) == x.g.dtype and (x.m is None or x.m.dtype == x.p.dtype)
        same = same and not (noisy and x.p.device.type == "cpu")
        (lists.setdefault((x.p.device, x.p.dtype), []) if same else rest).append((i, x))
    for chosen in lists.values():
        if const.phase is True:
            many.sgd_step([x for _, x in chosen], const)
            continue
        found = many.step([x for _, x in chosen], const)
        for (i, _), value in zip(chosen, found, strict=True):
            sums[i] = value
    return rest
