"""Selection of the settings to draw if a campaign sweeps training parameters."""

import pandas as pd

#: columns that the paper's figures compare; other axes (such as lr) are settings to select from
VARIANT = ["method", "alpha", "site", "t_switch"]


def best_settings(epochs: pd.DataFrame, runs: pd.DataFrame) -> tuple[list[str], str]:
    """Select the best setting of each method, α, site and T_switch.

    The criterion is the mean validation accuracy of the last epoch. Without a validation split all settings
    are kept, because a selection on the test set would be biased.

    Args:
        epochs: rows of epochs.parquet, of one data set.
        runs: rows with label, status and the columns of VARIANT, in campaign order.

    Returns:
        The labels to draw, and a line about the selection, which is empty if there was nothing to select.
    """
    cells = runs.drop_duplicates("label")
    variants = cells.groupby(VARIANT, dropna=False, sort=False)["label"].agg(list)
    finished = epochs[epochs["status"] == "finished"]
    last = finished.loc[finished.groupby("run")["epoch"].idxmax()]
    validation = last.dropna(subset=["val_acc"]).groupby("label")["val_acc"].mean()
    if all(len(labels) == 1 for labels in variants):
        return list(cells["label"]), ""
    if validation.empty:
        return list(cells["label"]), "\nall settings: no validation data to choose on"
    chosen = {max(labels, key=lambda label: validation.get(label, -1.0)) for labels in variants}
    kept = [label for label in cells["label"] if label in chosen]
    return kept, f"\nof each method's settings, the best on validation data ({len(kept)} of {len(cells)})"
