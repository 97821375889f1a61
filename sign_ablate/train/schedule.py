"""Learning-rate schedules, as factors of the configured learning rate."""

import math
from collections.abc import Callable

from sign_ablate.config.train import Train


def lr_factor(train: Train, steps_per_epoch: int, total_steps: int) -> Callable[[int], float]:
    """Return the function from step k (from 0) to the factor of lr.

    Warm-up rises linearly to 1 in its last step. The cosine schedule then falls to 0 at the end of the run,
    the others stay at 1. After the warm-up, every milestone e multiplies the factor by `lr_decay` from step
    e·steps_per_epoch on.
    """
    warmup = train.warmup_epochs * steps_per_epoch
    milestones = [epoch * steps_per_epoch for epoch in train.milestones]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        drop = float(train.lr_decay ** sum(step >= milestone for milestone in milestones))
        if train.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup))) * drop
        return drop

    return factor
