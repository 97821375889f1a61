"""Orders of the rows of `sign-ablate compare`, which the command line names without reading tables."""

import enum


class Sort(enum.StrEnum):
    """The order of the rows. Within each, the higher accuracy comes first."""

    DATASET = "dataset"
    TEST = "test"
    CAMPAIGN = "campaign"
    CELL = "cell"
