CLAIMS = str(claims_file())
MEASUREMENTS = str(MEASUREMENTS_FILE)
# `snakemake theory` makes the first of the two; the repository has the second.
THEORY_FILE = LAB_CLAIMS if os.path.exists(LAB_CLAIMS) else str(LAB_FILE)


# The claims, the choices of tuning and the results of the theory lab are compared by content, as parameters. As
# inputs, they would rerun the ledger when they are rewritten without a change, or run the lab.
rule ledger:
    input:
        runs=f"{RESULTS}/{{view}}runs.parquet",
        epochs=f"{RESULTS}/{{view}}epochs.parquet",
        predictions=f"{RESULTS}/{{view}}predictions.parquet",
        campaign=f"{RESULTS}/{{view}}campaign.json",
    output:
        claims=f"{RESULTS}/{{view}}claims.parquet",
        page=report(
            f"{RESULTS}/{{view}}explore.html",
            caption="../report/explore.rst",
            category="Report",
        ),
    log:
        f"{RESULTS}/logs/{{view}}ledger.log",
    conda:
        "../../environment.yml"
    params:
        content=[
            content_of(path)
            for path in (CLAIMS, TUNED_FILE, THEORY_FILE, MEASUREMENTS)
        ],
        tables=lambda wildcards, output: os.path.dirname(output.claims),
        claims=lambda wildcards, output: CLAIMS,
        theory=lambda wildcards, output: THEORY_FILE,
        measurements=lambda wildcards, output: MEASUREMENTS,
        code=fingerprint.of_claims(),
    shell:
        "python -m sign_ablate ledger --tables {params.tables} --claims {params.claims:q} "
        f"--tuned {shlex.quote(TUNED_FILE)} --theory {{params.theory:q}} --out {{output.claims}} "
        "--measurements {params.measurements:q} --page {output.page} > {log} 2>&1"
