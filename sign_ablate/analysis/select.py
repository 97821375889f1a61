"""Which of a method's settings are shown where a campaign sweeps a training parameter."""

import pandas as pd

#: the axes that the paper's figures compare; all others (such as lr) are settings to choose from
VARIANT = ["method", "alpha", "site", "t_switch"]


def best_settings(epochs: pd.DataFrame, runs: pd.DataFrame) -> tuple[list[str], str]:
    """The labels to draw, and a line that says how they were chosen, empty where nothing was.

    With a validation split, the best setting of each method, α, site and T_switch by the mean
    validation accuracy of the last epoch. Without one, all: a choice on the test set would flatter.

    Args:
        epochs: rows of epochs.parquet, of one data set.
        runs: rows with label, status and the columns of VARIANT, in campaign order.
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
