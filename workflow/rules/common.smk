"""The campaign of this call, the names of its files, and the functions of the rules."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import sys
import time
from os import environ

from snakemake.logging import logger

# Jobs call `python -m sign_ablate`. These variables select this repository's package and the Python that
# runs Snakemake, even if its environment is not activated.
# The scripts of profiles/cluster-generic are on PATH too: a profile cannot name them by their place.
environ["PATH"] = os.pathsep.join(
    [
        os.path.dirname(sys.executable),
        os.path.join(workflow.basedir, "profiles", "cluster-generic"),
        environ["PATH"],
    ]
)
environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(workflow.basedir), environ.get("PYTHONPATH")])
)
sys.path.insert(0, str(workflow.basedir))

from sign_ablate.jobs import campaign_lock, device, job_lock, parent, signals, warm
from sign_ablate.jobs.run_lock import JobError, is_running
from sign_ablate.store import fingerprint, layout
from sign_ablate.campaign import warm_start
from sign_ablate.campaign.preflight import warnings
from sign_ablate.claims.model import load as load_claims
from sign_ablate.config import ConfigError, load_campaign
from sign_ablate.data import location
from sign_ablate.data.errors import DataError
from sign_ablate.campaign.grid import expand, left_out
from sign_ablate.campaign.identity import campaign_spec, data_id, identity, short_hash
from sign_ablate.store.record import set_damaged_aside
from sign_ablate.repository import (
    CLAIMS_FILE,
    LAB_FILE,
    MEASUREMENTS_FILE,
    default_config,
)
from sign_ablate.terminal import workflow_log
from sign_ablate.jobs.warm import client
from sign_ablate.theory import EXPERIMENTS, FIGURES, SEED
from sign_ablate.tuning import search as tuning
from sign_ablate.tuning.choice import file_of, missing

# Messages of Snakemake about `update` outputs: there is no older file to restore after a failure, and a file
# was made by another Snakemake process.
SILENCED = ("no backup found", "not present when the DAG was created")
logger.addFilter(
    lambda record: not any(text in record.getMessage() for text in SILENCED)
)
# A configuration file on the command line replaces config.yaml instead of being merged with it. Otherwise the
# methods of the default campaign would be part of every other campaign.
# The text of --config is parsed by our YAML 1.2 parser, not by Snakemake's, which implements YAML 1.1.
CONFIGS = workflow.overwrite_configfiles or [default_config()]
if not os.path.exists("config.yaml") and not workflow.overwrite_configfiles:
    logger.info(f"This folder has no config.yaml: using the campaign in {CONFIGS[0]}.")
try:
    CAMPAIGN = load_campaign(CONFIGS, workflow.config_settings.config_args or [])
    if workflow.is_main_process:
        load_claims(CLAIMS_FILE)  # a mistake in them is found before any job
except ConfigError as error:
    sys.exit(str(error))

FORCED = "SIGN_ABLATE_FORCED"
EVALUATION = {run.id: run for run in expand(CAMPAIGN)}
# Trials whose choice is not known yet: stage 1, before the evaluation.
PENDING = tuning.pending(CAMPAIGN)
TRIALS = {run.id: run for search in PENDING for run in search.runs()}
RUNS = EVALUATION | TRIALS
if workflow.is_main_process:
    workflow_log.install(
        logger, workflow.output_settings, {id: run.title for id, run in RUNS.items()}
    )
DATA = {
    data_id(spec): spec
    for spec in (*CAMPAIGN.datasets.values(), *tuning.datasets(CAMPAIGN).values())
}
# A job ends when its Snakemake process has ended. On a cluster, each job has a Snakemake process of its own,
# so there is nothing to keep warm.
environ[parent.VARIABLE] = str(os.getpid())
DEVICE = device.resolve(CAMPAIGN.execution.device)
# Snakemake counts a job as one gpu. Where runs share a GPU, `--resources gpu=N` therefore has more to give.
# A cluster's scheduler counts GPUs itself.
if (
    workflow.is_main_process
    and workflow.local_exec
    and "gpu" in workflow.global_resources
):
    gpus = workflow.global_resources["gpu"]
    gpus = getattr(gpus, "value", gpus)  # a number in earlier versions of Snakemake
    workflow.register_resource("gpu", gpus * CAMPAIGN.execution.runs_per_gpu)
environ[warm.VARIABLE] = str(
    int(workflow.is_main_process and warm_start.is_on(CAMPAIGN, RUNS.values(), DEVICE))
)
# --device of the jobs. With `auto`, a job uses a free GPU, or the CPU if there is none.
JOB_DEVICE = "auto" if DEVICE == "cuda" and CAMPAIGN.execution.cpu_fallback else DEVICE
if workflow.is_main_process:
    for line in warnings(CAMPAIGN, RUNS.values(), local=workflow.local_exec):
        logger.warning(line)
# Runs and data files are shared by all campaigns. Other results are in the folder of this one.
RESULTS = str(layout.campaign_folder(layout.RESULTS, CAMPAIGN.campaign))
METRICS = [str(layout.metrics_file(layout.RESULTS, run)) for run in EVALUATION]
# A run whose results are damaged, for example by a power failure or an interrupted copy, is trained again.
if workflow.is_main_process:
    for run in RUNS:
        if is_running(layout.run_folder(layout.RESULTS, run)):
            continue  # a job of another Snakemake process is writing its files
        try:
            if damaged := set_damaged_aside(layout.run_folder(layout.RESULTS, run)):
                logger.warning(damaged)
        except OSError as error:
            sys.exit(f"{error}; sign-ablate status lists the damaged runs")
    if old := layout.old_runs(layout.RESULTS, CAMPAIGN.campaign):
        logger.warning(
            f"{old[0].parent}: runs of an earlier version ({len(old)}), which stored them by campaign. They "
            f"are kept but not read; runs are now stored in {layout.runs_folder(layout.RESULTS)}."
        )
# The theory lab, whose results depend on no campaign.
LAB = str(layout.theory_folder(layout.RESULTS))
LAB_CLAIMS = str(layout.theory_claims(layout.RESULTS))
LAB_TABLES = {
    name: str(layout.theory_table(layout.RESULTS, name)) for name in EXPERIMENTS
}
NOTEBOOKS = os.path.join(workflow.basedir, "notebooks")
TABLES = [
    "epochs.parquet",
    "runs.parquet",
    "summary.parquet",
    "times.parquet",
    "predictions.parquet",
    "campaign.json",
]
if any(run.config.train.probe for run in EVALUATION.values()):
    TABLES.append("probes.parquet")


wildcard_constraints:
    view="(partial/)?",
    run=r"[^/]+\.s\d+\.[0-9a-f]+",
    data=r"[^/]+\.[0-9a-f]+",
    figure="(?!tuning-)[^/.]+",
    dataset="|".join(map(re.escape, CAMPAIGN.datasets)),
    experiment="|".join(map(re.escape, EXPERIMENTS)),


def products(view):
    """Tables, figures and report of a view: "" for all runs, "partial/" for the runs finished so far."""
    names = [
        *TABLES,
        "claims.parquet",
        "explore.html",
        "report.html",
        *(f"table1.{kind}" for kind in ("md", "tex", "csv")),
    ]
    for figure in CAMPAIGN.figures:
        names += [f"figures/{figure}.{kind}" for kind in ("svg", "pdf", "png")]
    return [f"{RESULTS}/{view}{name}" for name in names] + tuning_figures(view)


def tuning_figures(view, kinds=("svg", "pdf", "png")):
    """Figures of the search, two per data set. None before the choice, or in a campaign that does not tune."""
    if CAMPAIGN.tuning is None or PENDING:
        return []
    return [
        f"{RESULTS}/{view}figures/tuning-{dataset}{suffix}.{kind}"
        for dataset in CAMPAIGN.datasets
        for suffix in ("", "-lr")
        for kind in kinds
    ]


def data_of(wildcards):
    """Data file of a run. A finished run does not need it, unless this call names or forces the run.

    In a cluster's job, waits while another job is training the run.

    The file is always an input, because Snakemake trains again if the names of inputs change. For a finished
    run it is marked `ancient`, because its name identifies its content and its time is irrelevant, and
    `before_update`, so that no job makes it. Otherwise, making a data file for one run would train all other
    runs on it again.
    """
    lock_runs_of_job()
    run = str(layout.metrics_file(layout.RESULTS, wildcards.run))
    data = str(layout.data_file(layout.RESULTS, RUNS[wildcards.run].data_id))
    if not os.path.exists(run):
        return data
    if is_forced(run, "train"):
        return data  # not `ancient`: Snakemake would skip the run if the data are forced as well
    named = run in workflow.dag_settings.targets
    return ancient(data if named else before_update(data))


@functools.cache
def lock_runs_of_job():
    """Lock the runs of a cluster's job. Does nothing in other Snakemake processes."""
    if workflow.is_main_process or not workflow.local_exec:
        return
    jobs = workflow.dag_settings.target_jobs
    runs = [job.wildcards_dict["run"] for job in jobs if job.rulename == "train"]
    job_lock.hold(layout.run_folder(layout.RESULTS, run) for run in runs)
    for run in runs:
        metrics = layout.metrics_file(layout.RESULTS, run)
        if metrics.exists() and not is_forced(metrics, "train"):
            keep_log(layout.train_log(layout.RESULTS, CAMPAIGN.campaign, run))


def keep_log(log):
    """Rename the log of a finished run's training, which Snakemake deletes before a second job for the run."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".before.log"))


def images_of(wildcards):
    """Check that the images of a data set exist, or exit with a message. Returns no input files."""
    if not layout.data_file(layout.RESULTS, wildcards.data).exists():
        try:
            location.check(DATA[wildcards.data])
        except DataError as error:
            logger.error(f"{wildcards.data}: {error}")
            sys.exit(1)
    return []


def priority_of(run):
    """Priority of a run: trials first, then seed by seed."""
    return 1 if run.trial is not None else -CAMPAIGN.seeds.index(run.config.seed)


def niceness_of(run):
    """Option of sbatch that orders the queue: SLURM does not know Snakemake's priorities.

    None in groups of runs, whose jobs must agree in it.
    """
    if "train" in workflow.group_settings.overwrite_groups:
        return None
    return f"--nice={100 * max(0, -priority_of(run))}"


def metrics_of(wildcards):
    """`metrics.parquet` of the runs of a view."""
    if wildcards.view:
        return [path for path in METRICS if os.path.exists(path)]
    return METRICS


def is_forced(path, rule):
    """Return True if this call forces an existing file to be made again."""
    call = workflow.dag_settings
    if not workflow.is_main_process:
        # A cluster's job, for which Snakemake forces every file. The user's call forces those older than itself.
        return os.stat(path).st_mtime_ns < int(environ.get(FORCED, sys.maxsize))
    targets = call.targets if call.forcetargets else []
    return call.forceall or not {path, rule}.isdisjoint({*call.forcerun, *targets})


def tell_forced():
    """Tell the Snakemake processes of cluster jobs the time of this call (ns) if it forces files, else 0."""
    call = workflow.dag_settings
    forces = call.forceall or call.forcetargets or call.forcerun
    environ[FORCED] = str(time.time_ns() if forces else 0)


def replaced(path, rule):
    """Modification time (ns) of the file that a job replaces, or 0 if the job keeps a file that it finds.

    A file that a job finds was made by another Snakemake process after this one had checked.
    """
    if not os.path.exists(path) or not is_forced(path, rule):
        return 0
    return os.stat(path).st_mtime_ns


def prepare_command(wildcards, output):
    """Command that makes a data file. Snakemake does not compare it (see `train_command`)."""
    data = DATA[wildcards.data]
    return command(
        "prepare",
        spec=identity(data.without_location()),
        location=json.dumps(data.location()),
        out=output[0],
        replaces=replaced(output[0], "prepare"),
    )


def ranks_of(run):
    """Number of processes that train a run."""
    return CAMPAIGN.execution.ranks(run.config.train.workers)


def train_command(wildcards, input, output):
    """Command that trains a run.

    Snakemake does not compare parameters whose functions take `input` or `output`. Only a changed `spec`
    therefore trains a run again; changes of the execution or of this command do not.
    """
    execution, run = CAMPAIGN.execution, RUNS[wildcards.run]
    options = {
        "spec": run.spec,
        "data": input.data,
        "out": os.path.dirname(output[0]),
        "device": JOB_DEVICE,
        "runs-per-gpu": execution.runs_per_gpu,
        "deterministic": int(execution.deterministic),
        "compile": execution.compile,
        # Not the rule's threads, which --cores limits: their number can change the last bit of a result.
        "threads": execution.threads,
        "ranks": ranks_of(run),
        "rank-timeout-seconds": execution.rank_timeout_seconds,
        "checkpoint-seconds": execution.checkpoint_seconds,
        "replaces": replaced(output[0], "train"),
    }
    return f"OMP_NUM_THREADS={execution.threads} {command('train', **options)}"


def command(name, **options):
    """Format a command line of sign-ablate."""
    words = [
        f"--{option} {shlex.quote(str(value))}" for option, value in options.items()
    ]
    return " ".join([f"python -m sign_ablate {name}", *words])


def is_theory_alone():
    """Return True if this call makes results of the theory lab and nothing of a campaign."""
    targets = workflow.dag_settings.targets
    return bool(targets) and all(
        t == "theory" or t.startswith(f"{LAB}/") for t in targets
    )


def lock_theory():
    """Lock the theory lab, so that one Snakemake process at a time writes its files."""
    try:
        campaign_lock.hold(pathlib.Path(LAB))
    except JobError:
        logger.error(
            f"{LAB}: another Snakemake runs the theory lab; wait for it or stop it"
        )
        sys.exit(1)
    except OSError as error:
        logger.error(str(error))
        sys.exit(1)


def lock_campaign():
    """Lock the campaign: one Snakemake process at a time may run it, and one may run `partial`."""
    targets = workflow.dag_settings.targets
    partial = all(
        t == "partial" or t.startswith(f"{RESULTS}/partial/") for t in targets
    )
    folder = pathlib.Path(RESULTS, layout.PARTIAL if targets and partial else "")
    try:
        campaign_lock.hold(folder)
        (folder / layout.RUNNING).write_text(
            CAMPAIGN.model_dump_json(exclude_unset=True)
        )
    except (JobError, OSError) as error:
        logger.error(str(error))
        sys.exit(1)


def notebook_file(notebook):
    """Path of a notebook. Parameters with it take `output`, so that Snakemake does not compare them."""
    return os.path.join(NOTEBOOKS, f"{notebook}.ipynb")


def drawn_by(notebook):
    """Fingerprints of the code behind a notebook's outputs. They change with the code, not with comments."""
    path = pathlib.Path(notebook_file(notebook))
    return [fingerprint.of_analysis(), fingerprint.of_files([path])]


def figure_arguments(name):
    """Parameters of a figure's notebook that only its kind has."""
    words = []
    for key, value in CAMPAIGN.figures[name].parameters().items():
        words += ["-n" if isinstance(value, int) else "-p", f"{key}={value}"]
    return shlex.join(words)


def content_of(path):
    """SHA-256 of a file, or an empty text if it does not exist."""
    if not os.path.exists(path):
        return ""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
