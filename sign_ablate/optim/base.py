"""Base class of the optimizers: declared options, checked groups, and one step over the parameters."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    ParamsT,
    _default_to_fused_or_foreach,
    _use_grad_for_differentiable,
)

from sign_ablate.optim import checks
from sign_ablate.optim.constructor import with_arguments
from sign_ablate.optim.layout import check_shape, memory_order
from sign_ablate.optim.ops import Group, local, real
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.sign_step.joined import MOST

#: raises if a step is captured into a CUDA graph without `capturable`; renamed after torch 2.11
_HEALTH_CHECK: Callable[[Optimizer], None] = getattr(
    Optimizer, "_accelerator_graph_capture_health_check", None
) or getattr(Optimizer, "_cuda_graph_capture_health_check")  # noqa: B009


_JOINED = (nn.Parameter, Tensor)


class Entry(NamedTuple):
    """A parameter that has a gradient."""

    p: Tensor
    group: Group
    number: int  #: among all parameters
    slot: int  #: its number in its group


class Batch(NamedTuple):
    """Parameters of one group that are updated together: one, or with foreach all of one kind."""

    group: Group
    entries: list[Entry]

    @property
    def x(self) -> list[Tensor]:
        """The parameters' local, real tensors."""
        return [local(real(entry.p)) for entry in self.entries]


class DeclaredOptimizer(Optimizer):
    """An optimizer whose options are declared by a dataclass (`sign_ablate.optim.options`).

    A subclass names the declaration in `options`, takes it in its constructor (`constructor.takes`), and
    moves a batch of parameters in `_update`, or all of them in `_advance`. Numbers that `load_state_dict`
    must not cast to the parameter's dtype are Python ints in the state or live in the parameter groups.
    """

    options: ClassVar[type]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "options" in vars(cls):
            cls.__doc__ = with_arguments(cls.__doc__ or "", cls.options)

    def _start(self, params: ParamsT, options: Any, **state: Any) -> None:
        """Initialize torch's base class, with the options and the entries of `state` as group defaults."""
        defaults = {"differentiable": False, **checks.python_values(vars(options)), **state}
        self._check({**defaults, "params": []})
        super().__init__(params, defaults)
        checks.effects(self.options, self.param_groups)

    def _check(self, group: Group) -> None:
        """Raise ValueError for an option of a group that is out of range or excluded by another option."""
        checks.group(self.options, group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for option, default in self.defaults.items():
                # The default is for a state dict saved before the option was added.
                group[option] = checks.python_value(group.get(option, default))

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group. It takes the values of the options that all groups share.

        Raises:
            ValueError: for an option out of range, or one that all groups share and that differs.
            TypeError: for a group that is not a dict.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")  # torch's message
        options = checks.python_values(param_group)
        first = self.param_groups[0] if self.param_groups else {**self.defaults, **options}
        shared = {name: first[name] for name, own in declared(self.options).items() if own.option.shared}
        shared["differentiable"] = self.defaults["differentiable"]  # torch reads it from the defaults
        super().add_param_group({**shared, **options})
        try:
            self._check(self.param_groups[-1])
            checks.same_for_all(self.param_groups[-1], shared)
        except ValueError:
            del self.param_groups[-1]
            raise

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step. Returns the closure's loss, if one is given.

        Raises:
            RuntimeError: for a sparse gradient, or one with another shape than its parameter. No parameter
                has changed then.
        """
        if "capturable" in self.defaults:
            _HEALTH_CHECK(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            self._observe(loss)
        entries = self._entries()
        self._advance(entries)
        if entries and not self.state:  # which torch.distributed.checkpoint would fill by a step
            self.state.update({p: {"stepped": 1} for p, *_ in self._parameters() if p.requires_grad})
        return loss

    def _observe(self, loss: Any) -> None:
        """Hook for a subclass that uses the loss of a step."""

    def _parameters(self) -> Iterator[Entry]:
        number = itertools.count()
        for group in self.param_groups:
            for slot, p in enumerate(group["params"]):
                yield Entry(p, group, next(number), slot)

    def _entries(self) -> list[Entry]:
        """The parameters that have a gradient."""
        entries = [entry for entry in self._parameters() if entry.p.grad is not None]
        for p, *_ in entries:
            if p.grad is not None and p.grad.layout is not torch.strided:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            check_shape("gradient", p.grad, p)
        return entries

    def _advance(self, entries: list[Entry]) -> None:
        """Update all parameters."""
        for batch in self._batches(entries):
            self._update(batch)

    def _update(self, batch: Batch) -> Any:
        """Update the parameters of a batch."""
        raise NotImplementedError

    def _batches(self, entries: list[Entry]) -> Iterator[Batch]:
        """Batches of one parameter, or with foreach of those of one group, device, dtype and step count."""
        for _, own in itertools.groupby(entries, lambda entry: id(entry.group)):
            mine = list(own)
            group = mine[0].group
            foreach = group.get("foreach", False)
            if foreach is None:
                foreach = _default_to_fused_or_foreach([entry.p for entry in mine], differentiable=False)[1]
            alike: dict[Any, list[Entry]] = {}
            for entry in mine:
                alike.setdefault(self._kind(entry) if foreach else entry.number, []).append(entry)
            for batch in alike.values():
                for piece in _pieces(batch):
                    yield Batch(group, piece)

    def _kind(self, entry: Entry) -> Any:
        """Key that the parameters of a batch share; the number of one that is updated alone."""
        p, g = entry.p, entry.p.grad
        assert g is not None
        if type(p) not in _JOINED or memory_order(p) is None:
            return entry.number
        return p.device, p.dtype, g.dtype, self.state.get(p, {}).get("step")

    def _gradients(self, batch: Batch, decay: float = 0.0) -> list[Tensor]:
        """Gradients, negated to maximize, plus coupled weight decay."""
        grads: list[Any] = [entry.p.grad for entry in batch.entries]
        gs = [local(real(g.resolve_conj())) for g in grads]
        if batch.group.get("maximize"):
            gs = list(torch._foreach_neg(gs))
        return list(torch._foreach_add(gs, batch.x, alpha=decay)) if decay else gs

    def _buffers(self, batch: Batch, name: str) -> list[Tensor]:
        """The state tensors `name`, zero at first; as pairs of reals if the parameters are complex."""
        return [local(real(self._buffer(entry.p, name))) for entry in batch.entries]

    def _buffer(self, p: Tensor, name: str) -> Tensor:
        state = self.state[p]
        if name not in state:
            state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        check_shape(name, state[name], p)
        buffer: Tensor = state[name]
        return buffer

    def _count(self, batch: Batch) -> int:
        """The batch's number of steps, this one included. An int: exact, and never read from a device."""
        states = [self.state[entry.p] for entry in batch.entries]
        count = int(states[0].get("step", 0)) + 1
        for state in states:
            state["step"] = count
        return count


def _pieces(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Split the entries into lists of at most MOST coordinates; a larger parameter has a list of its own."""
    piece: list[Entry] = []
    room = MOST
    for entry in entries:
        if piece and entry.p.numel() > room:
            yield piece
            piece, room = [], MOST
        piece.append(entry)
        room -= entry.p.numel()
    yield piece
