"""The campaign that this call is about, and the names of its files."""

import json
import os
import pathlib
import re
import shlex
import sys
from os import environ

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# Jobs are `python -m sign_ablate`: this repository's, with the Python that Snakemake runs in,
# whether its environment is activated or not.
environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environ["PATH"]])
environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(workflow.basedir), environ.get("PYTHONPATH")])
)
sys.path.insert(0, str(workflow.basedir))

from sign_ablate import device, fingerprint, owner, warm
from sign_ablate.config import ConfigError, load_campaign
from sign_ablate.grid import campaign_spec, data_id, expand, identity
from sign_ablate.record import set_damaged_aside
from sign_ablate.repository import default_config
from sign_ablate.warm import client

# A configuration file on the command line replaces config.yaml; it is not laid over it, or the
# methods of the default campaign would join every other one.
CONFIGS = workflow.overwrite_configfiles or [default_config()]
if not os.path.exists("config.yaml") and not workflow.overwrite_configfiles:
    logger.info(f"This folder has no config.yaml: the campaign is {CONFIGS[0]}'s.")
try:
    CAMPAIGN = load_campaign(CONFIGS, config)
except ConfigError as error:
    raise WorkflowError(str(error))

RUNS = {run.id: run for run in expand(CAMPAIGN)}
DATA = {
    data_id(label, spec): identity(spec) for label, spec in CAMPAIGN.datasets.items()
}
# A job whose Snakemake is gone stops too. In a cluster's job, that is the Snakemake there, for one job:
# nothing to keep warm.
environ[owner.VARIABLE] = str(os.getpid())
environ[warm.VARIABLE] = str(int(CAMPAIGN.execution.warm and workflow.is_main_process))
DEVICE = device.resolve(CAMPAIGN.execution.device)
# What a job is told: with `auto`, it looks for a GPU that is free, and takes the CPU where there is none.
JOB_DEVICE = "auto" if DEVICE == "cuda" and CAMPAIGN.execution.cpu_fallback else DEVICE
PRECISIONS = {run.config.train.precision for run in RUNS.values()}
if "bfloat16" in PRECISIONS and DEVICE == "cpu" and not device.cpu_has_bfloat16():
    logger.warning(
        "precision: bfloat16 is emulated on this CPU: much slower than float32"
    )
RESULTS = f"results/{CAMPAIGN.campaign}"
METRICS = [f"{RESULTS}/runs/{run}/metrics.parquet" for run in RUNS]
# A run whose results are damaged, by a power failure or an interrupted copy, is trained again.
if workflow.is_main_process:
    for run in RUNS:
        try:
            if damaged := set_damaged_aside(pathlib.Path(RESULTS, "runs", run)):
                logger.warning(damaged)
        except OSError as error:
            raise WorkflowError(
                f"{error}; sign-ablate status says which runs are damaged"
            )
# Runs that are done and whose data file is gone. To the rules they are files that nothing makes: Snakemake
# takes `ancient` to heart for files that exist only, and would train them all again as soon as one run is
# left to train.
DONE_WITHOUT_DATA = [
    name
    for name, run in RUNS.items()
    if not os.path.exists(f"results/data/{run.data_id}.npz")
    and os.path.exists(f"{RESULTS}/runs/{name}/metrics.parquet")
]
NOTEBOOKS = os.path.join(workflow.basedir, "notebooks")
TABLES = ["epochs.parquet", "runs.parquet", "summary.parquet", "times.parquet"]


def not_among(names):
    """A regular expression for the place in a path where none of `names` is."""
    return f"(?!(?:{'|'.join(map(re.escape, names))})/)" if names else ""


wildcard_constraints:
    view="(partial/)?",
    run=not_among(DONE_WITHOUT_DATA) + r"[^/]+\.s\d+\.[0-9a-f]+",
    data=r"[^/]+\.[0-9a-f]+",
    figure="[^/.]+",


def products(view):
    """What is made of the runs: of all of them, or (partial/) of those that exist."""
    figures = [f"figures/{figure}.png" for figure in CAMPAIGN.figures]
    return [
        f"{RESULTS}/{view}{name}"
        for name in [*TABLES, *figures, "table1.md", "report.html"]
    ]


def data_of(wildcards):
    """The data file of a run. Its name holds all that it depends on: that it is newer says nothing.

    Yet it is `ancient` to the runs that are done only. Where a kill left the file marked as incomplete,
    Snakemake makes it again and takes the jobs for which it is ancient to be up to date: it would
    train nothing, and exit with 0.
    """
    path = f"results/data/{RUNS[wildcards.run].data_id}.npz"
    done = os.path.exists(f"{RESULTS}/runs/{wildcards.run}/metrics.parquet")
    return ancient(path) if done else path


def metrics_of(wildcards):
    """The runs that a view is made of."""
    if wildcards.view:
        return [path for path in METRICS if os.path.exists(path)]
    return METRICS


def drawn_by(notebook):
    """The code that a notebook's products are made with: an edit makes them again, a comment does not."""
    path = pathlib.Path(NOTEBOOKS, f"{notebook}.ipynb")
    return [fingerprint.of_analysis(), fingerprint.of_files([path])]


def t_switch_argument(figure):
    """The switch that a figure is restricted to, if it is."""
    t_switch = CAMPAIGN.figures[figure].t_switch
    return "" if t_switch is None else f"-p t_switch {t_switch}"
