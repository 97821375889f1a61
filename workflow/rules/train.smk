# It imports torch while the data are prepared.
onstart:
    here = environ[warm.VARIABLE] == "1" and workflow.local_exec
    if here and not all(map(os.path.exists, METRICS)):
        client.start(os.getpid())


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
    }
    command = f"OMP_NUM_THREADS={execution.threads} python -m sign_ablate train"
    for name, value in options.items():
        command += f" --{name} {shlex.quote(str(value))}"
    return command


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
    params:
        spec=lambda wildcards: RUNS[wildcards.run].spec,
        command=train_command,
    # Snakemake compares this line's text with that of the last time, and trains every run again where they
    # differ. So all that may change is in train_command.
    shell:
        "{params.command} > {log} 2>&1"
