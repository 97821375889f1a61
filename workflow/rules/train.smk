# It imports torch while the data are prepared.
onstart:
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
    # How a run is executed is a resource and not a parameter: its change reruns nothing.
    resources:
        gpu=1 if DEVICE == "cuda" else 0,
        device=JOB_DEVICE,
        deterministic=int(CAMPAIGN.execution.deterministic),
        # Not {threads}, which shrinks with --cores: the number of threads can change the last bit.
        torch_threads=CAMPAIGN.execution.threads,
        compile=CAMPAIGN.execution.compile,
        checkpoint_seconds=CAMPAIGN.execution.checkpoint_seconds,
    params:
        spec=lambda wildcards: RUNS[wildcards.run].spec,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "OMP_NUM_THREADS={resources.torch_threads} python -m sign_ablate train --spec {params.spec:q} "
        "--data {input.data} --out {params.folder} --device {resources.device} "
        "--deterministic {resources.deterministic} --compile {resources.compile} "
        "--threads {resources.torch_threads} --checkpoint-seconds {resources.checkpoint_seconds} "
        "> {log} 2>&1"
