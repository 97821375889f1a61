"""Row orders of `sign-ablate compare`. Separate from compare.py so that the CLI need not import pyarrow."""

import enum


class Sort(enum.StrEnum):
    """Order of the rows. Ties are broken by test accuracy, highest first."""

    DATASET = "dataset"
    TEST = "test"
    CAMPAIGN = "campaign"
    CELL = "cell"
