rule aggregate:
    input:
        metrics_of,
    output:
        [
            (
                report(
                    f"{RESULTS}/{{view}}summary.parquet",
                    caption="../report/summary.rst",
                    category="Tables",
                )
                if table == "summary.parquet"
                else f"{RESULTS}/{{view}}{table}"
            )
            for table in TABLES
        ],
    log:
        f"{RESULTS}/logs/{{view}}aggregate.log",
    conda:
        "../../environment.yml"
    params:
        campaign=campaign_spec(CAMPAIGN, tuning=bool(PENDING)),
        partial=lambda wildcards: "--partial" if wildcards.view else "",
        results=lambda wildcards: layout.RESULTS,
        out=lambda wildcards, output: os.path.dirname(output[0]),
        code=fingerprint.of_analysis(),
    shell:
        "python -m sign_ablate aggregate --campaign {params.campaign:q} {params.partial} "
        "--results {params.results} --out {params.out} > {log} 2>&1"
