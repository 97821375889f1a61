rule prepare:
    input:
        images_of,
    output:
        "results/data/{data}.npz",
    log:
        "results/data/{data}.log",
    conda:
        "../../environment.yml"
    # Where the images lie is a resource and not a parameter: the data set is known by what it holds.
    resources:
        location=lambda wildcards: json.dumps(DATA[wildcards.data].location()),
    params:
        spec=lambda wildcards: identity(DATA[wildcards.data].without_location()),
    shell:
        "python -m sign_ablate prepare --spec {params.spec:q} --location {resources.location:q} "
        "--out {output} > {log} 2>&1"
