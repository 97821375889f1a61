"""The campaign of this call and the names of its files."""

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
    LAB_FILE,
    MEASUREMENTS_FILE,
    claims_file,
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
        load_claims()  # a mistake in them is found before any job
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
