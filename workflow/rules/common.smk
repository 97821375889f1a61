"""The campaign that this call is about, and the names of its files."""

import json
import os
import pathlib
import shlex
import sys
from os import environ

from snakemake.logging import logger

# Jobs are `python -m sign_ablate`: this repository's, with the Python that Snakemake runs in,
# whether its environment is activated or not.
environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environ["PATH"]])
environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(workflow.basedir), environ.get("PYTHONPATH")])
)
sys.path.insert(0, str(workflow.basedir))

from sign_ablate.jobs import campaign_lock, device, parent, signals, warm
from sign_ablate.jobs.run_lock import JobError, is_running
from sign_ablate.store import fingerprint, layout
from sign_ablate.campaign import warm_start
from sign_ablate.campaign.preflight import warnings
from sign_ablate.config import ConfigError, load_campaign
from sign_ablate.data import location
from sign_ablate.data.errors import DataError
from sign_ablate.campaign.grid import campaign_spec, data_id, expand, identity
from sign_ablate.store.record import set_damaged_aside
from sign_ablate.repository import default_config
from sign_ablate.terminal import workflow_log
from sign_ablate.jobs.warm import client

# A configuration file on the command line replaces config.yaml; it is not laid over it, or the
# methods of the default campaign would join every other one.
# Of outputs that are `update`, Snakemake says that there is no older file to restore where a job has failed, and
# that a file is new to it where another Snakemake has made it.
SILENCED = ("no backup found", "not present when the DAG was created")
logger.addFilter(
    lambda record: not any(text in record.getMessage() for text in SILENCED)
)
# The text of --config is read by our own YAML, of which Snakemake's is an older version.
CONFIGS = workflow.overwrite_configfiles or [default_config()]
if not os.path.exists("config.yaml") and not workflow.overwrite_configfiles:
    logger.info(f"This folder has no config.yaml: the campaign is {CONFIGS[0]}'s.")
try:
    CAMPAIGN = load_campaign(CONFIGS, workflow.config_settings.config_args or [])
except ConfigError as error:
    sys.exit(str(error))

FORCED = "SIGN_ABLATE_FORCED"
RUNS = {run.id: run for run in expand(CAMPAIGN)}
if workflow.is_main_process:
    workflow_log.install(
        logger, workflow.output_settings, {id: run.title for id, run in RUNS.items()}
    )
DATA = {data_id(spec): spec for spec in CAMPAIGN.datasets.values()}
# A job whose Snakemake is gone stops too. In a cluster's job, that is the Snakemake there, for one job:
# nothing to keep warm.
environ[parent.VARIABLE] = str(os.getpid())
DEVICE = device.resolve(CAMPAIGN.execution.device)
environ[warm.VARIABLE] = str(
    int(workflow.is_main_process and warm_start.is_on(CAMPAIGN, RUNS.values(), DEVICE))
)
# What a job is told: with `auto`, it looks for a GPU that is free, and takes the CPU where there is none.
JOB_DEVICE = "auto" if DEVICE == "cuda" and CAMPAIGN.execution.cpu_fallback else DEVICE
if workflow.is_main_process:
    for line in warnings(CAMPAIGN, RUNS.values(), local=workflow.local_exec):
        logger.warning(line)
# Runs and data files are all campaigns'; the rest is this one's.
RESULTS = str(layout.campaign_folder(layout.RESULTS, CAMPAIGN.campaign))
METRICS = [str(layout.metrics_file(layout.RESULTS, run)) for run in RUNS]
# A run whose results are damaged, by a power failure or an interrupted copy, is trained again.
if workflow.is_main_process:
    for run in RUNS:
        if is_running(layout.run_folder(layout.RESULTS, run)):
            continue  # another Snakemake's job is writing its files
        try:
            if damaged := set_damaged_aside(layout.run_folder(layout.RESULTS, run)):
                logger.warning(damaged)
        except OSError as error:
            sys.exit(f"{error}; sign-ablate status says which runs are damaged")
    if old := layout.old_runs(layout.RESULTS, CAMPAIGN.campaign):
        logger.warning(
            f"{old[0].parent}: runs of an earlier version ({len(old)}), which kept them by campaign. They "
            f"stay there and are not read; runs are in {layout.runs_folder(layout.RESULTS)} now."
        )
NOTEBOOKS = os.path.join(workflow.basedir, "notebooks")
TABLES = [
    "epochs.parquet",
    "runs.parquet",
    "summary.parquet",
    "times.parquet",
    "campaign.json",
]


wildcard_constraints:
    view="(partial/)?",
    run=r"[^/]+\.s\d+\.[0-9a-f]+",
    data=r"[^/]+\.[0-9a-f]+",
    figure="[^/.]+",


def products(view):
    """What is made of the runs: of all of them, or (partial/) of those that exist."""
    names = [
        *TABLES,
        "report.html",
        *(f"table1.{kind}" for kind in ("md", "tex", "csv")),
    ]
    for figure in CAMPAIGN.figures:
        names += [f"figures/{figure}.{kind}" for kind in ("svg", "pdf", "png")]
    return [f"{RESULTS}/{view}{name}" for name in names]


def data_of(wildcards):
    """The data file of a run. A run that is done needs none, unless this call names it or forces it.

    The file stays among the inputs, since Snakemake trains again where their names have changed. But it is
    `ancient`: its name says all that it holds, its time nothing. And `before_update`: no job is looked for
    that makes it. Without that, a data file that is made for one run would train all others of it again.
    """
    run = str(layout.metrics_file(layout.RESULTS, wildcards.run))
    data = str(layout.data_file(layout.RESULTS, RUNS[wildcards.run].data_id))
    if not os.path.exists(run):
        return data
    if is_forced(run, "train"):
        return data  # not `ancient`: where the data are forced too, Snakemake would leave the run out
    named = run in workflow.dag_settings.targets
    return ancient(data if named else before_update(data))


def images_of(wildcards):
    """No file: the end, in one line and before any job, where the images of a data set are missing."""
    if not layout.data_file(layout.RESULTS, wildcards.data).exists():
        try:
            location.check(DATA[wildcards.data])
        except DataError as error:
            logger.error(f"{wildcards.data}: {error}")
            sys.exit(1)
    return []


def metrics_of(wildcards):
    """The runs that a view is made of."""
    if wildcards.view:
        return [path for path in METRICS if os.path.exists(path)]
    return METRICS


def is_forced(path, rule):
    """True where this call asks for a file that is there to be made again."""
    call = workflow.dag_settings
    if (
        not workflow.is_main_process
    ):  # a cluster's job, for which Snakemake forces every file
        return environ.get(FORCED) != "0"
    targets = call.targets if call.forcetargets else []
    return call.forceall or not {path, rule}.isdisjoint({*call.forcerun, *targets})


def tell_forced():
    """Tell the jobs whether the user forces any. The Snakemake of a cluster's job does not know otherwise."""
    call = workflow.dag_settings
    environ[FORCED] = str(
        int(bool(call.forceall or call.forcetargets or call.forcerun))
    )


def replaced(path, rule):
    """The time of the file (ns) that a job makes again, 0 where it leaves one that it finds.

    Such a file is another Snakemake's work, made since this one looked. What was made of it stays as well.
    """
    if not is_forced(path, rule) or not os.path.exists(path):
        return 0
    return os.stat(path).st_mtime_ns


def prepare_command(wildcards, output):
    """The command of a data file. It is not compared, as that of a run is not: where images lie changes nothing."""
    data = DATA[wildcards.data]
    return command(
        "prepare",
        spec=identity(data.without_location()),
        location=json.dumps(data.location()),
        out=output[0],
        replaces=replaced(output[0], "prepare"),
    )


def train_command(wildcards, input, output):
    """The command of a run. Snakemake does not compare parameters that are made of input or output files:
    what a run is, is its `spec`; how it is executed, and the text of this command, rerun nothing.
    """
    execution, run = CAMPAIGN.execution, RUNS[wildcards.run]
    options = {
        "spec": run.spec,
        "data": input.data,
        "out": os.path.dirname(output[0]),
        "device": JOB_DEVICE,
        "deterministic": int(execution.deterministic),
        "compile": execution.compile,
        # Not the rule's threads, which shrink with --cores: their number can change the last bit.
        "threads": execution.threads,
        "checkpoint-seconds": execution.checkpoint_seconds,
        "replaces": replaced(output[0], "train"),
    }
    return f"OMP_NUM_THREADS={execution.threads} {command('train', **options)}"


def command(name, **options):
    """A command line of sign-ablate."""
    words = [
        f"--{option} {shlex.quote(str(value))}" for option, value in options.items()
    ]
    return " ".join([f"python -m sign_ablate {name}", *words])


def lock_campaign():
    """One Snakemake per campaign at a time, and one for `partial`. Those of others share their runs with it."""
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
    """The path of a notebook. A parameter that is made of it takes `output` too, so that it is not compared."""
    return os.path.join(NOTEBOOKS, f"{notebook}.ipynb")


def drawn_by(notebook):
    """The code that a notebook's products are made with: an edit makes them again, a comment does not."""
    path = pathlib.Path(notebook_file(notebook))
    return [fingerprint.of_analysis(), fingerprint.of_files([path])]


def t_switch_argument(figure):
    """The switch that a figure is restricted to, if it is."""
    t_switch = CAMPAIGN.figures[figure].t_switch
    return "" if t_switch is None else f"-n t_switch={t_switch}"
