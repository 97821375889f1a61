rule prepare:
    output:
        "results/data/{data}.npz",
    log:
        "results/data/{data}.log",
    conda:
        "../../environment.yml"
    params:
        spec=lambda wildcards: DATA[wildcards.data],
    shell:
        "python -m sign_ablate prepare --spec {params.spec:q} --out {output} > {log} 2>&1"
