"""The contract that the kin of SignSGD share: one plain loop over the parameters, and its helpers."""

from collections.abc import Callable
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from sign_ablate.optim import checks
from sign_ablate.optim.layout import check_shape

Group = dict[str, Any]
_FLAGS = {"maximize", "decoupled", "error_feedback", "momentum_after", "bias_correction"}
#: (index over all groups, parameter, its group)
Item = tuple[int, Tensor, Group]


class ForLoop(Optimizer):
    """An optimizer whose step is a loop over the parameters that have a gradient.

    A subclass checks a group's options in `_check` and moves one parameter in `_update`. Numbers that
    `load_state_dict` must not cast to the parameter's dtype are Python ints in the state or live in
    the parameter groups. Complex parameters are treated as pairs of real ones.
    """

    #: (option, what it has no effect without)
    needs: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        defaults = checks.python_numbers(defaults)
        self._check(defaults)
        super().__init__(params, defaults)
        for option, needed in self.needs:
            users = [group for group in self.param_groups if group[option]]
            if users and not any(group[needed] for group in users):
                raise ValueError(f"{option} has no effect without {needed}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.defaults.pop("differentiable", None)  # which torch has just added
        for group in self.param_groups:  # of a state dict from before an option was added
            for option, default in self.defaults.items():
                group.setdefault(option, default)

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group, after a check of its options.

        Raises:
            ValueError: for an option out of range.
        """
        options = checks.python_numbers(param_group)
        self._check({**self.defaults, **options})
        super().add_param_group(options)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step. Returns the closure's loss, if one is given.

        Raises:
            RuntimeError: for a sparse gradient, before any parameter moves.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [(p, group) for group in self.param_groups for p in group["params"]]
        items = [(index, p, group) for index, (p, group) in enumerate(pairs) if p.grad is not None]
        for _, p, _ in items:
            if p.grad is not None and p.grad.layout is not torch.strided:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
        self._update_all(items)
        return loss

    def _check(self, group: Group) -> None:
        checks.learning_rate(group["lr"])
        checks.number("weight_decay", group["weight_decay"], checks.AT_LEAST_0)
        for name in _FLAGS & group.keys():
            checks.flag(name, group[name])

    def _update_all(self, items: list[Item]) -> None:
        for index, p, group in items:
            self._update(p, index, group)

    def _update(self, p: Tensor, index: int, group: Group) -> Any:
        raise NotImplementedError

    def _gradient(self, p: Tensor, group: Group, decay: float = 0.0) -> Tensor:
        """The direction of ascent: the gradient with coupled weight decay, negated under maximize."""
        assert p.grad is not None
        g = real((-p.grad if group["maximize"] else p.grad).resolve_conj())
        return g.add(real(p), alpha=decay) if decay else g

    def _buffer(self, p: Tensor, name: str) -> Tensor:
        """The state tensor `name` of p, zero at first; as pairs of reals if p is complex."""
        state = self.state[p]
        if name not in state:
            state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        check_shape(name, state[name], p)
        return real(state[name])

    def _count(self, p: Tensor) -> int:
        """The number of p's steps, this one included. An int: it is exact and never read from a device."""
        state = self.state[p]
        state["step"] = int(state.get("step", 0)) + 1
        return int(state["step"])


def real(x: Tensor) -> Tensor:
    """x, or the real view of a complex x."""
    return torch.view_as_real(x) if x.is_complex() else x


def whole(x: Any) -> Tensor:
    """x, gathered from all processes if it is a DTensor (FSDP2)."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def sign(x: Tensor) -> Tensor:
    """sign(x), except that NaN stays NaN and ±inf becomes NaN: `torch.sign(nan)` is 0 and would hide it."""
    return torch.sign(x) + (x - x)


def rate(group: Group) -> float | Tensor:
    """The learning rate: a float, or a 0-dim tensor that stays on its device."""
    lr: float | Tensor = group["lr"]
    return lr.reshape(()) if isinstance(lr, Tensor) else lr


def descend(x: Tensor, direction: Tensor, by: float | Tensor) -> None:
    """x ← x − by·direction, as `torch.optim` rounds it where `by` is a float."""
    if isinstance(by, Tensor):
        x.sub_(direction * by)
    else:
        x.add_(direction, alpha=-by)


def decay(x: Tensor, group: Group) -> None:
    """Decoupled weight decay: x ← (1 − lr·weight_decay)·x."""
    if group["weight_decay"]:
        x.mul_(1 - rate(group) * group["weight_decay"])
