onstart:
    lock_results()
    tell_forced()
    signals.pass_on_to_jobs(logger.warning)
    # The warm-start server imports torch while the data are prepared.
    here = environ[warm.VARIABLE] == "1" and workflow.local_exec
    if here and not is_theory_alone() and not all(map(os.path.exists, TO_TRAIN)):
        client.start(os.getpid())


rule train:
    input:
        data=data_of,
    output:
        update(str(layout.metrics_file(layout.RESULTS, "{run}"))),
    # Log and benchmark belong to the campaign, unlike the run: see layout.train_log.
    log:
        str(layout.train_log(layout.RESULTS, CAMPAIGN.campaign, "{run}")),
    benchmark:
        str(layout.train_benchmark(layout.RESULTS, CAMPAIGN.campaign, "{run}"))
    # Seed by seed: a campaign that is stopped early has about the same number of seeds of every method.
    priority: lambda wildcards: priority_of(RUNS[wildcards.run])
    # Not in a cluster's job, which is itself tried again.
    retries: int(workflow.is_main_process)
    conda:
        "../../environment.yml"
    threads: lambda wildcards: CAMPAIGN.execution.threads * ranks_of(RUNS[wildcards.run])
    resources:
        gpu=lambda wildcards: ranks_of(RUNS[wildcards.run]) if DEVICE == "cuda" else 0,
        slurm_extra=lambda wildcards: niceness_of(RUNS[wildcards.run]),
        # The second attempt ends at once if the first failed for a reason that would not change.
        attempt=lambda wildcards, attempt: attempt,
    params:
        spec=lambda wildcards: RUNS[wildcards.run].spec,
        command=train_command,
    # Snakemake compares this text with that of the last call and trains every run again if they differ.
    # Everything that may change is therefore in train_command.
    shell:
        "{params.command} --attempt {resources.attempt} > {log} 2>&1"
