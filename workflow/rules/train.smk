onstart:
    signals.pass_on_to_jobs(logger.warning)
    # It imports torch while the data are prepared.
    here = environ[warm.VARIABLE] == "1" and workflow.local_exec
    if here and not all(map(os.path.exists, METRICS)):
        client.start(os.getpid())


rule train:
    input:
        data=data_of,
    output:
        # Snakemake deletes what a failed job declares. The other files of the run stay.
        f"{RESULTS}/runs/{{run}}/metrics.parquet",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{run}}.tsv"
    # One seed of every method before the second: what a campaign that is cut short knows is balanced.
    priority: lambda wildcards: -CAMPAIGN.seeds.index(RUNS[wildcards.run].config.seed)
    retries: 1
    conda:
        "../../environment.yml"
    threads: CAMPAIGN.execution.threads
    resources:
        gpu=1 if DEVICE == "cuda" else 0,
        # A second attempt ends at once where the first failed for a reason that stays.
        attempt=lambda wildcards, attempt: attempt,
    params:
        spec=lambda wildcards: RUNS[wildcards.run].spec,
        command=train_command,
    # Snakemake compares this line's text with that of the last time, and trains every run again where they
    # differ. So all that may change is in train_command.
    shell:
        "{params.command} --attempt {resources.attempt} > {log} 2>&1"
