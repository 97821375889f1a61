rule train:
    input:
        # The file's name holds all that it depends on: that it is newer says nothing.
        data=lambda wildcards: ancient(
            f"results/data/{RUNS[wildcards.run].data_id}.npz"
        ),
    output:
        # Snakemake deletes what a failed job declares. The other files of the run stay.
        f"{RESULTS}/runs/{{run}}/metrics.parquet",
    log:
        f"{RESULTS}/logs/train/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/{{run}}.tsv"
    retries: 1
    conda:
        "../../environment.yml"
    threads: CAMPAIGN.execution.threads
    resources:
        gpu=1 if DEVICE == "cuda" else 0,
    params:
        spec=lambda wildcards: RUNS[wildcards.run].spec,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        device=DEVICE,
        # Not {threads}, which shrinks with --cores: the number of threads can change the last bit.
        threads=CAMPAIGN.execution.threads,
    shell:
        "OMP_NUM_THREADS={params.threads} python -m sign_ablate train --spec {params.spec:q} "
        "--data {input.data} --out {params.folder} --device {params.device} --threads {params.threads} "
        "> {log} 2>&1"
