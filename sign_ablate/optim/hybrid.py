"""SignSGD-M that switches to SGD: Algorithm 2 and equations (11), (12) of arXiv 2604.25550."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from sign_ablate.optim import checks, projection, trigger
from sign_ablate.optim.base import Entry
from sign_ablate.optim.constructor import takes
from sign_ablate.optim.ops import Group
from sign_ablate.optim.options.hybrid import HybridSignSGDOptions
from sign_ablate.optim.sign_step import lengths, shards
from sign_ablate.optim.sign_step.inputs import Projection, StepConstants
from sign_ablate.optim.signsgd import SignSGD, Work


class HybridSignSGD(SignSGD):
    """SignSGD-M for `switch_step` steps, then SGD with the calibrated learning rate λ̄.

    In the sign phase λ_k = δ·|⟨sign(m_{k+1}), g⟩| / (‖g‖² + ϵ) over all parameters (eq. 12). What is
    averaged is r_k = λ_k/δ_k, and SGD steps with λ̄ = lr·r̄: where a scheduler changes lr, before the
    switch or after, λ̄ follows, and `group["lr"]` is never overwritten. The average r̄ is corrected for
    its start at 0 (Algorithm 2 is not: a switch within the first 1/(1−η) steps would come out too small).
    A λ_k with ⟨s, g⟩ = 0, or that is not finite, is not averaged but counted (`diagnostics`).

    A group that is added with scope "global" takes the r̄ of the others. With the other scopes it measures its
    own; a group or tensor without a gradient before the switch takes the mean r̄ of all that had one.

    The trigger "fixed" switches at `switch_step`; "stable" when λ̄ has changed by less than `tolerance`
    (relative) in each of `patience` steps; "swats" when |λ̄ − λ_k| < `tolerance`, the rule of SWATS;
    "plateau" when the averaged loss has not fallen by `tolerance` (relative) for `patience` steps: give the
    loss by a closure or `report_loss`. Dither acts in the sign phase.

    `after` and `length` are controls. After the switch the step is along g, or along sign(m), whose m goes on
    being updated; it is as long as λ̄g, or as long as a sign step, δ√d. The default, g with λ̄‖g‖, is
    Algorithm 2; sign(m) with δ√d is SignSGD-M.

    Raises:
        ValueError: for an argument out of range, or one that has no effect beside the others.
        RuntimeError: in `step`, with trigger "plateau" and no loss.

    >>> x = torch.nn.Parameter(torch.tensor([3.0, -4.0]))
    >>> optimizer = HybridSignSGD([x], lr=0.5, beta=0.0, switch_step=1)
    >>> for _ in range(2):  # the gradient of ‖x‖²/2; λ_0 = 0.5·(3 + 4)/25 = 0.14
    ...     x.grad = x.detach().clone()
    ...     optimizer.step()
    >>> x.tolist()  # (2.5, −3.5)·(1 − 0.14)
    [2.1500000953674316, -3.009999990463257]
    """

    #: before and after the switch
    phases = ("sign", "sgd")

    options = HybridSignSGDOptions

    @takes(HybridSignSGDOptions)
    def __init__(self, params: ParamsT, options: HybridSignSGDOptions) -> None:
        self._loss: Tensor | float | None = None
        # kept in the groups, as the step is
        self._start(params, options, **dict.fromkeys((*projection.STATE, "sgd_step", "trigger_state")))

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["calibrate"]:
            checks.devices("HybridSignSGD", [*vars(self).get("param_groups", ()), group])
        if group["sgd_lr"] is not None and checks.learning_rate(group["lr"]) == 0:
            raise ValueError(
                f"sgd_lr = {group['sgd_lr']} follows the schedule of lr, which must be above 0, got lr = 0 "
                "(sgd_lr None reuses lr)"
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        checks.saved("HybridSignSGD", state["param_groups"], projection.STATE)
        super().__setstate__(state)
        self._loss = None
        for group in self.param_groups:  # of a state dict of another optimizer
            group.setdefault("naive_ratio", _naive_ratio(group))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; it joins the others at their step and phase, and with scope "global" with their r̄."""
        super().add_param_group(param_group)
        group, first = self.param_groups[-1], self.param_groups[0]
        group.setdefault("naive_ratio", _naive_ratio(group))
        group["sgd_step"] = first["sgd_step"]
        projection.join(group, self.param_groups[:-1])

    def report_loss(self, loss: Tensor | float) -> None:
        """Give the loss of the coming step to the trigger "plateau".

        With several processes give the mean over them: their replicas must switch at the same step.
        """
        self._loss = loss.detach() if isinstance(loss, Tensor) else loss

    def _observe(self, loss: Any) -> None:
        if loss is not None:
            self.report_loss(loss)

    def phase(self, step: int | Tensor | None = None) -> bool | Tensor:
        """Return True if `step` (by default the next one) is an SGD step.

        The result is a bool tensor if it is known only on the device.
        """
        group = self.param_groups[0]
        if group["trigger"] == "fixed":
            step = group["step"] if step is None else step
            return False if group["switch_step"] is None else step >= group["switch_step"]
        return self._sgd_steps_above(0)

    def _last_phase(self) -> bool | Tensor:
        group = self.param_groups[0]
        return self.phase(group["step"] - 1) if group["trigger"] == "fixed" else self._sgd_steps_above(1)

    def _sgd_steps_above(self, count: int) -> bool | Tensor:
        """Return True if more than `count` SGD steps are made or due; a tensor if a bool needs a sync."""
        group = self.param_groups[0]
        if group["sgd_step"] is None:
            return False
        above: Tensor = group["sgd_step"] > count
        return bool(above) if above.device.type == "cpu" and not group["capturable"] else above

    def _is_first_sgd(self, phase: bool | Tensor) -> bool | Tensor:
        """Return True if the next step is the first SGD step. A tensor if the phase is one."""
        first = self.param_groups[0]
        if first["trigger"] == "fixed":
            return phase is not False and first["step"] == first["switch_step"]
        found = phase is not False and first["sgd_step"] == 1
        return bool(found) if isinstance(phase, bool) else found

    def _advance(self, entries: list[Entry]) -> None:
        """Update all parameters. At the switch, those without a gradient lose their momentum as well."""
        first_sgd = self._is_first_sgd(self.phase())
        if first_sgd is not False:
            stepped = {entry.p for entry in entries}
            for p, group, *_ in self._parameters():
                m = self.state.get(p, {}).get("momentum_buffer")
                if m is None or p in stepped or not _has_sgd_momentum(group):
                    continue
                m.copy_(torch.where(first_sgd, 0, m)) if isinstance(first_sgd, Tensor) else m.zero_()
        super()._advance(entries)

    def _with_constants(self, groups: list[tuple[Group, list[Work]]]) -> list[shards.Todo]:
        todo, first = super()._with_constants(groups), self.param_groups[0]
        own = {key: first[key] for key in ("after", "length")}
        phase = self.phase()
        if phase is False or not todo or own == {"after": "gradient", "length": "projected"}:
            return todo
        return lengths.after_switch(todo, phase, **own)

    def _step_constants(self, group: dict[str, Any], **more: Any) -> StepConstants:
        if group["capturable"] and not isinstance(group["step"], Tensor):
            super()._step_constants(group)  # makes the step a tensor
        phase = self.phase()
        project = None
        if group["calibrate"] and phase is not True:
            project = Projection(
                applied=group["lambda_step"] == "applied",
                previous=group["lambda_momentum"] == "previous",
                energy=group["lambda_rule"] == "swats",
            )
        return super()._step_constants(
            group, phase=phase, first_sgd=self._is_first_sgd(phase), project=project,
            lam=projection.lambda_bar(group, self.param_groups) if phase is not False else 0.0,
            sgd_momentum=_has_sgd_momentum(group), **more,
        )  # fmt: skip

    def _track(self, results: list[tuple[dict[str, Any], list[Work], list[Any]]]) -> None:
        """Average λ_k and decide about the switch. Eq. (12) sums over all parameters."""
        phase, first = self.phase(), self.param_groups[0]
        useful: list[Tensor] = []
        if phase is not True and first["calibrate"] and results:
            useful = self._average(results, phase)
        self._loss, loss = None, self._loss
        if first["trigger"] != "fixed" and results:
            device = results[0][1][0][1].device
            sgd_step = first["sgd_step"]
            if sgd_step is None:
                sgd_step = torch.zeros((), dtype=torch.int32, device=device)
            sgd_step = sgd_step.to(device)
            fired: bool | Tensor = True
            if phase is not True:
                fired = trigger.fired(self.param_groups, loss, torch.cat(useful).any()).to(torch.int32)
            sgd_step.copy_(torch.where(sgd_step > 0, sgd_step + 1, fired))
            for group in self.param_groups:
                group["sgd_step"] = sgd_step

    def _average(
        self, results: list[tuple[dict[str, Any], list[Work], list[Any]]], phase: bool | Tensor
    ) -> list[Tensor]:
        """Average λ_k. Returns masks of the observations that were used."""
        owners = [(group, x) for group, work, _ in results for x in work]
        values = [value for _, _, found in results for value in found]
        sums = projection.rows(values, owners[0][1][1].device)
        sums = shards.reduced([x[0] for _, x in owners], sums)
        out = []
        for group in self.param_groups:
            mine = [i for i, (other, _) in enumerate(owners) if other is group]
            slots = [0]
            if group["lambda_scope"] == "global":
                own = sums.sum(0, keepdim=True)
            elif not mine:
                continue
            else:
                own = sums[mine[0] : mine[-1] + 1]
                if group["lambda_scope"] == "group":
                    own = own.sum(0, keepdim=True)
                else:
                    slots = [owners[i][1][5] for i in mine]
            size = len(group["params"]) if group["lambda_scope"] == "tensor" else 1
            out.append(projection.observe(group, own, slots, size, phase))
        return out

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor | float]:
        """Diagnostics of SignSGD, the phase of the last step, and diagnostics of λ.

        After the switch there is no `sigma` and no `flip_fraction`, and `momentum_rms` only with
        `after="sign"`, which goes on updating m.

        `phase` is 0 for sign and 1 for SGD. `lambda_bar` is λ̄ and `lambda_k` the last averaged λ_k, both as
        means over the groups or tensors of the scope. `lambda_skipped` is the number of λ_k that were not
        averaged.
        """
        group = self.param_groups[0]
        if not isinstance(group["step"], Tensor) and group["step"] == 0:
            return {}
        in_sgd = self._last_phase()
        updated = in_sgd is not True or group["after"] == "sign"  # the last step has updated m
        out = super().diagnostics() if updated else {}
        if in_sgd is True:  # without dither
            out = {key: value for key, value in out.items() if key == "momentum_rms"}
        out["phase"] = in_sgd.float() if isinstance(in_sgd, Tensor) else float(in_sgd)
        return out | projection.summary(self.param_groups, in_sgd)


def _has_sgd_momentum(group: dict[str, Any]) -> bool:
    """Return True if the group keeps a velocity v in the SGD phase. With β = 0 it would be g itself."""
    return bool(group["sgd_momentum"] == "swats" and group["beta"])


def _naive_ratio(group: dict[str, Any]) -> float:
    """Learning rate after a switch without calibration, as a multiple of lr."""
    return 1.0 if group["sgd_lr"] is None else group["sgd_lr"] / float(group["lr"])
