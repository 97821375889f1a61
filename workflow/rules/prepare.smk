rule prepare:
    output:
        "results/data/{data}.npz",
    params:
        spec=lambda wildcards: DATA[wildcards.data],
    log:
        "results/data/{data}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m sign_ablate prepare --spec {params.spec:q} --out {output} > {log} 2>&1"
