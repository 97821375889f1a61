"""Names and places of the files in the results folder; docs/results.md describes them.

No path below the results folder is built anywhere else. The Snakefile reads this on every start: the standard
library is all that is imported.
"""

from pathlib import Path

#: the results folder, as Snakemake and its jobs name it
RESULTS = Path("results")

_DATA, _REFERENCE, _RUNS = "data", "reference", "runs"
#: folders in the results folder that are no campaigns
RESERVED = {_DATA, _REFERENCE, _RUNS}

# Files of a run.
METRICS = "metrics.parquet"
RUN = "run.json"
TIMING = "timing.parquet"
ENVIRONMENT = "environment.json"
#: of a run that was interrupted
CHECKPOINT = "checkpoint.pt"
#: of a run that is not done
PROGRESS = "progress.json"
#: held with flock while a process trains the run, or while Snakemake works on a campaign; its presence alone
#: means nothing
LOCK = ".lock"

#: configuration of a campaign as Snakemake works on it
RUNNING = "running.json"

#: folder of a campaign for what is made of the runs that exist (`snakemake partial`)
PARTIAL = "partial"


def runs_folder(results: Path) -> Path:
    """The store of runs, which all campaigns share."""
    return results / _RUNS


def run_folder(results: Path, run: str) -> Path:
    """The folder of the run with the id `run` (`Run.id`)."""
    return runs_folder(results) / run


def metrics_file(results: Path, run: str) -> Path:
    """The file whose presence says that a run is done. Snakemake's name for the run."""
    return run_folder(results, run) / METRICS


def data_folder(results: Path) -> Path:
    """The prepared data files, which all campaigns share."""
    return results / _DATA


def data_file(results: Path, data: str) -> Path:
    """The prepared images with the id `data` (`Run.data_id`)."""
    return data_folder(results) / f"{data}.npz"


def campaign_folder(results: Path, campaign: str) -> Path:
    """Tables, figures, report and logs of a campaign."""
    return results / campaign


def train_log(results: Path, campaign: str, run: str) -> Path:
    """What the training job of a campaign has printed.

    It is not in the run's folder: Snakemake deletes the log of a job before it starts, while a job of another
    campaign may be training the same run.
    """
    return campaign_folder(results, campaign) / "logs" / "train" / f"{run}.log"


def train_benchmark(results: Path, campaign: str, run: str) -> Path:
    """Time and memory of the training job of a campaign, as Snakemake measures them."""
    return campaign_folder(results, campaign) / "benchmarks" / f"{run}.tsv"


def old_runs(results: Path, campaign: str) -> list[Path]:
    """Folders of runs that an earlier version kept in the campaign's folder."""
    return sorted(path for path in (campaign_folder(results, campaign) / _RUNS).glob("*") if path.is_dir())
