"""Choice of the warm start (`sign_ablate.jobs.warm`) where `execution.warm` is unset."""

from collections.abc import Collection

from sign_ablate.campaign.grid import Run
from sign_ablate.config.campaign import Campaign
from sign_ablate.data.shape import shape_of

#: Training images of a short run of the small network: about five minutes of a core, beside which the three
#: seconds of a start do not count.
SHORT = 600_000


def is_on(campaign: Campaign, runs: Collection[Run], device: str) -> bool:
    """Return True if jobs are forked from a warm process: `execution.warm`, or where that pays.

    It pays on a CPU, for a campaign with a short run of the small network. A run of unknown length counts as
    short.

    Args:
        campaign: the campaign.
        runs: its runs.
        device: device of its jobs, "cpu" or "cuda".
    """
    if campaign.execution.warm is not None:
        return campaign.execution.warm
    seeds = {campaign.seeds[0], *([campaign.tuning.seed] if campaign.tuning else [])}
    return device == "cpu" and any(_is_short(run) for run in runs if run.config.seed in seeds)


def _is_short(run: Run) -> bool:
    train = run.config.train
    if train.model != "small":
        return False
    if train.steps is not None:
        return train.steps * train.batch_size <= SHORT
    shape = shape_of(run.config.data)
    return shape is None or (train.epochs or 0) * shape.train_images <= SHORT
