"""The schemas of a campaign's tables (docs/results.md). Descriptions are stored in the files."""

import pyarrow as pa

from sign_ablate.store.run_files import METRICS_SCHEMA, PROBE_SCHEMA, field

#: Bump when a column is added, removed or changes its meaning.
TABLES_VERSION = 3

CAMPAIGN = "campaign.json"
EPOCHS = "epochs.parquet"
RUNS = "runs.parquet"
SUMMARY = "summary.parquet"
TIMES = "times.parquet"
PREDICTIONS = "predictions.parquet"
PROBES = "probes.parquet"
#: cache of the runs read for the tables (`collect`); may be deleted
KEPT = ".runs.arrow"

_CELL = [
    field("dataset", pa.string(), "label of the data set in the campaign"),
    field("method", pa.string(), "label of the method in the campaign"),
    field("label", pa.string(), "method with the values of its axes; with dataset: the cell"),
    field("optimizer", pa.string(), "name of the optimizer"),
    field("lr0", pa.float64(), "learning rate (δ) as configured, before its schedule"),
    field("alpha", pa.float64(), "initial dither variance α; null without dither"),
    field("site", pa.string(), "pre or post: where the dither is added; null without dither"),
    field("t_switch", pa.int64(), "epochs of the sign phase, T_switch; null without a switch"),
]
_RUN = [
    field("run", pa.string(), "id of the run: the name of its folder"),
    *_CELL,
    field("seed", pa.int64(), "seed of initialisation, data order and dither"),
]
#: columns that name the run and its cell, in all tables with rows of runs
KEYS = {column.name for column in _RUN}
_STATUS = field("status", pa.string(), "finished, or diverged: loss or gradient became non-finite")

#: One row per epoch of every run. A run that diverged in its first epoch has no row here, see runs.parquet.
EPOCHS_SCHEMA = pa.schema([*_RUN, _STATUS, *METRICS_SCHEMA])

#: One row per run.
RUNS_SCHEMA = pa.schema(
    [
        *_RUN,
        _STATUS,
        field("diverged_at_step", pa.int64(), "optimizer step of the divergence; null where finished"),
        field("epochs", pa.int32(), "epochs done"),
        field("final_test_acc", pa.float64(), "test accuracy of the last epoch; null where diverged"),
        field("best_test_acc", pa.float64(), "highest test accuracy of an epoch: chosen on the test set"),
        field("final_test_loss", pa.float64(), "test loss of the last epoch; null where diverged"),
        field("final_train_loss", pa.float64(), "training loss of the last epoch; null where diverged"),
        field("final_train_acc", pa.float64(), "training accuracy of the last epoch; null where diverged"),
        field("final_val_acc", pa.float64(), "validation accuracy of the last epoch; null without a split"),
    ]
)

#: One row per cell: a data set and a label.
SUMMARY_SCHEMA = pa.schema(
    [
        *_CELL,
        field("n", pa.int32(), "seeds whose run exists, finished or diverged"),
        field("n_diverged", pa.int32(), "seeds of n that diverged; they are left out of the means below"),
        field("n_damaged", pa.int32(), "seeds whose run is damaged and was left out (partial tables only)"),
        field("mean", pa.float64(), "mean over finished seeds of the last epoch's test accuracy"),
        field("sd", pa.float64(), "sample standard deviation of the same; null with one seed"),
        field("ci_low", pa.float64(), "lower end of the 95 % t-interval of the mean; null with one seed"),
        field("ci_high", pa.float64(), "upper end of the 95 % t-interval of the mean; null with one seed"),
        field("lowest", pa.float64(), "lowest of the finished seeds' test accuracies of the last epoch"),
        field("highest", pa.float64(), "highest of the same"),
        field("best_mean", pa.float64(), "mean over finished seeds of the best epoch's test accuracy"),
        field("val_mean", pa.float64(), "mean over finished seeds of the last epoch's validation accuracy"),
    ]
)

#: One row per run: correctness of its prediction for each test image.
PREDICTIONS_SCHEMA = pa.schema(
    [
        *_RUN,
        field("images", pa.int32(), "number of test images; null for a run without predictions"),
        field(
            "correct",
            pa.binary(),
            "a bit per test image, 1 if classified correctly after the last step, in the order of the "
            "prepared data: numpy.unpackbits(numpy.frombuffer(correct, numpy.uint8), count=images)",
        ),
    ]
)

#: One row per probe and quantity of every run. Only of a campaign with probes.
PROBES_SCHEMA = pa.schema([*_RUN, *PROBE_SCHEMA])

#: One row per run: what differs between two executions of the same run.
TIMES_SCHEMA = pa.schema(
    [
        *_RUN,
        field("train_seconds", pa.float64(), "wall seconds of all training steps"),
        field("eval_seconds", pa.float64(), "wall seconds of all evaluations"),
        field("total_seconds", pa.float64(), "wall seconds of the job, without the start of Python"),
        field("images_per_second", pa.float64(), "median over epochs of training images per second"),
        field("device", pa.string(), "cpu, or cuda and the name of the GPU"),
        field("host", pa.string(), "name of the machine"),
        field("code", pa.string(), "fingerprint of the code that made the run's numbers"),
        field("git_commit", pa.string(), "commit of the code, with + where its files had changes"),
        field("versions", pa.string(), "package → version, as JSON"),
    ]
)
