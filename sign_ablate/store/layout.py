"""Names and paths of the files in the results folder, which docs/results.md describes.

No path below the results folder is built anywhere else. The Snakefile imports this module on every start, so
it imports only the standard library.
"""

from pathlib import Path

#: the results folder, relative to Snakemake's working directory
RESULTS = Path("results")

_DATA, _REBUILT, _REFERENCE, _RUNS, _THEORY = "data", "rebuilt", "reference", "runs", "theory"
#: folders in the results folder that do not belong to a campaign
RESERVED = {_DATA, _REBUILT, _REFERENCE, _RUNS, _THEORY}

# Files of a run.
METRICS = "metrics.parquet"
#: only of a finished run that was evaluated on test images
PREDICTIONS = "predictions.parquet"
#: only of a run with probes
PROBE = "probe.parquet"
RUN = "run.json"
TIMING = "timing.parquet"
ENVIRONMENT = "environment.json"
# Both of these are deleted when the run is finished.
CHECKPOINT = "checkpoint.pt"
PROGRESS = "progress.json"
#: locked with flock while a process trains the run, or while Snakemake runs the campaign. A file that exists
#: without being locked has no meaning.
LOCK = ".lock"
#: locked with flock while a cluster's job is responsible for the run
JOB_LOCK = ".job.lock"

#: configuration of a campaign that Snakemake is running
RUNNING = "running.json"

#: folder of a campaign for the results of the runs that are finished so far (`snakemake partial`)
PARTIAL = "partial"


def runs_folder(results: Path) -> Path:
    """Folder of all runs, which campaigns share."""
    return results / _RUNS


def run_folder(results: Path, run: str) -> Path:
    """Folder of the run with the id `run` (`Run.id`)."""
    return runs_folder(results) / run


def metrics_file(results: Path, run: str) -> Path:
    """File that exists once the run is finished. It is Snakemake's target for the run."""
    return run_folder(results, run) / METRICS


def data_folder(results: Path) -> Path:
    """Folder of the prepared data files, which campaigns share."""
    return results / _DATA


def data_file(results: Path, data: str) -> Path:
    """File of the prepared images with the id `data` (`Run.data_id`)."""
    return data_folder(results) / f"{data}.npz"


def campaign_folder(results: Path, campaign: str) -> Path:
    """Folder of a campaign's tables, figures, report and logs."""
    return results / campaign


def reference_folder(results: Path) -> Path:
    """Folder of exported campaigns (`sign-ablate export`), with a folder for each."""
    return results / _REFERENCE


def rebuilt_folder(results: Path) -> Path:
    """Folder of rebuilt campaigns (`sign-ablate rebuild`), with a folder for each."""
    return results / _REBUILT


def theory_folder(results: Path) -> Path:
    """Folder of the theory lab: its tables, figures and logs, which depend on no campaign."""
    return results / _THEORY


def theory_table(results: Path, name: str) -> Path:
    """Table of the experiment `name` of the theory lab."""
    return theory_folder(results) / f"{name}.parquet"


def theory_claims(results: Path) -> Path:
    """Results of the theory lab on the paper's claims, which campaigns share."""
    return theory_folder(results) / "claims.parquet"


def tuned_file(results: Path, campaign: str) -> Path:
    """File of the values that a campaign's tuning chose."""
    return campaign_folder(results, campaign) / "tuned.json"


def chosen_mark(results: Path, campaign: str, search: str) -> Path:
    """Empty file that exists once the choices of the searches with this hash are stored.

    It is Snakemake's target instead of the file of choices, which also has choices of other searches and may
    be in a repository.
    """
    return campaign_folder(results, campaign) / "tuning" / f"{search}.chosen"


def choose_log(results: Path, campaign: str) -> Path:
    """Log of the job that chooses among the trials of a campaign."""
    return campaign_folder(results, campaign) / "logs" / "choose.log"


def train_log(results: Path, campaign: str, run: str) -> Path:
    """Log of a campaign's training job.

    It is not in the run's folder, because Snakemake deletes a job's log before the job starts, and a job of
    another campaign may be training the same run at that time.
    """
    return campaign_folder(results, campaign) / "logs" / "train" / f"{run}.log"


def train_benchmark(results: Path, campaign: str, run: str) -> Path:
    """Snakemake's benchmark file (time and memory) of a campaign's training job."""
    return campaign_folder(results, campaign) / "benchmarks" / f"{run}.tsv"


def old_runs(results: Path, campaign: str) -> list[Path]:
    """Folders of runs in the campaign's folder, where an earlier version stored them."""
    return sorted(path for path in (campaign_folder(results, campaign) / _RUNS).glob("*") if path.is_dir())
