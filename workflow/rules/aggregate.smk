rule aggregate:
    input:
        metrics_of,
    output:
        [
            report(
                f"{RESULTS}/{{view}}summary.parquet",
                caption="../report/summary.rst",
                category="Tables",
            )
            if table == "summary.parquet"
            else f"{RESULTS}/{{view}}{table}"
            for table in TABLES
        ],
    params:
        campaign=campaign_spec(CAMPAIGN),
        partial=lambda wildcards: "--partial" if wildcards.view else "",
    log:
        f"{RESULTS}/logs/{{view}}aggregate.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m sign_ablate aggregate --campaign {params.campaign:q} {params.partial} "
        "--results {RESULTS} --out {RESULTS}/{wildcards.view} > {log} 2>&1"
