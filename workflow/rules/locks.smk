"""Locks of campaigns, of the theory lab and of the runs of a cluster's job."""


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
            CAMPAIGN.model_dump_json(exclude_unset=True), encoding="utf-8"
        )
    except (JobError, OSError) as error:
        logger.error(str(error))
        sys.exit(1)


def is_of_theory(target):
    """Return True if a target is one of the theory lab."""
    return target == "theory" or target.startswith(f"{LAB}/")


def is_theory_alone():
    """Return True if this call makes results of the theory lab and nothing of a campaign."""
    targets = workflow.dag_settings.targets
    return bool(targets) and all(map(is_of_theory, targets))


def lock_results():
    """Lock what this call writes: the theory lab, the campaign, or both."""
    if any(map(is_of_theory, workflow.dag_settings.targets)):
        lock_theory()
    if not is_theory_alone():
        lock_campaign()


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
