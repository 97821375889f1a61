# Needs no campaign and trains nothing. An experiment runs again when its code or its seed changes.


rule theory:
    input:
        LAB_TABLES.values(),
        LAB_CLAIMS,
        f"{LAB}/theory.html",


rule theory_experiment:
    output:
        f"{LAB}/{{experiment}}.parquet",
    log:
        f"{LAB}/logs/{{experiment}}.log",
    benchmark:
        f"{LAB}/benchmarks/{{experiment}}.tsv"
    # the longest first
    priority: lambda wildcards: int(wildcards.experiment.startswith("convergence"))
    conda:
        "../../environment.yml"
    params:
        seed=SEED,
        options=lambda wildcards: json.dumps(EXPERIMENTS[wildcards.experiment].options),
        code=lambda wildcards: fingerprint.of_sources(
            EXPERIMENTS[wildcards.experiment].sources
        ),
    # One thread: the matrices are small, and two experiments run side by side.
    shell:
        "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m sign_ablate theory {wildcards.experiment} "
        "--out {output} --seed {params.seed} > {log} 2>&1"


rule theory_claims:
    input:
        LAB_TABLES.values(),
    output:
        LAB_CLAIMS,
    log:
        f"{LAB}/logs/claims.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint.of_sources(
            ["theory/statements.py", "theory/tables.py", "theory/lab.py"]
        ),
    shell:
        "python -m sign_ablate theory claims {input} --out {output} > {log} 2>&1"


rule theory_figures:
    input:
        tables=LAB_TABLES.values(),
        claims=LAB_CLAIMS,
    output:
        figures=[
            f"{LAB}/figures/{figure}.{kind}"
            for figure in FIGURES
            for kind in ("svg", "pdf", "png")
        ],
        html=f"{LAB}/theory.html",
    log:
        notebook=f"{LAB}/logs/theory.ipynb",
        text=f"{LAB}/logs/notebook.log",
    conda:
        "../../environment.yml"
    params:
        notebook=lambda wildcards, output: notebook_file("theory"),
        folder=lambda wildcards, output: os.path.dirname(output.html),
        code=lambda wildcards: [
            fingerprint.of_sources(["theory", "analysis/style.py"]),
            fingerprint.of_files([pathlib.Path(notebook_file("theory"))]),
        ],
    shell:
        "python -m sign_ablate notebook {params.notebook:q} {log.notebook} -p folder={params.folder} "
        "--html {output.html} > {log.text} 2>&1"
