# The executed notebook is declared as a log. Snakemake keeps logs after a failure, and it shows the error.


rule figure:
    input:
        epochs=f"{RESULTS}/{{view}}epochs.parquet",
        # read from the folder of epochs, which has no row for a run that diverged in its first epoch
        runs=f"{RESULTS}/{{view}}runs.parquet",
    output:
        svg=f"{RESULTS}/{{view}}figures/{{figure}}.svg",
        pdf=f"{RESULTS}/{{view}}figures/{{figure}}.pdf",
        png=report(
            f"{RESULTS}/{{view}}figures/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        notebook=f"{RESULTS}/logs/{{view}}notebooks/{{figure}}.ipynb",
        text=f"{RESULTS}/logs/{{view}}notebooks/{{figure}}.log",
    conda:
        "../../environment.yml"
    params:
        notebook=lambda wildcards, output: notebook_file(
            CAMPAIGN.figures[wildcards.figure].kind
        ),
        dataset=lambda wildcards: CAMPAIGN.figures[wildcards.figure].dataset,
        more=lambda wildcards: figure_arguments(wildcards.figure),
        stem=lambda wildcards, output: os.path.splitext(output.png)[0],
        code=lambda wildcards: drawn_by(CAMPAIGN.figures[wildcards.figure].kind),
    shell:
        "python -m sign_ablate notebook {params.notebook:q} {log.notebook} -p epochs={input.epochs} "
        "-p dataset={params.dataset:q} {params.more} -p out={params.stem} > {log.text} 2>&1"


rule tuning_figures:
    input:
        tuned=TUNED_FILE,
        campaign=f"{RESULTS}/{{view}}campaign.json",
    output:
        [
            f"{RESULTS}/{{view}}figures/tuning-{{dataset}}{suffix}.{kind}"
            for suffix in ("", "-lr")
            for kind in ("svg", "pdf", "png")
        ],
    log:
        notebook=f"{RESULTS}/logs/{{view}}notebooks/tuning-{{dataset}}.ipynb",
        text=f"{RESULTS}/logs/{{view}}notebooks/tuning-{{dataset}}.log",
    conda:
        "../../environment.yml"
    params:
        notebook=lambda wildcards, output: notebook_file("tuning"),
        stem=lambda wildcards, output: os.path.splitext(output[0])[0],
        code=drawn_by("tuning"),
    shell:
        "python -m sign_ablate notebook {params.notebook:q} {log.notebook} -p tuned={input.tuned:q} "
        "-p campaign={input.campaign} -p dataset={wildcards.dataset:q} -p out={params.stem} > {log.text} 2>&1"


rule table:
    input:
        summary=f"{RESULTS}/{{view}}summary.parquet",
        times=f"{RESULTS}/{{view}}times.parquet",
        campaign=f"{RESULTS}/{{view}}campaign.json",
    output:
        markdown=report(
            f"{RESULTS}/{{view}}table1.md",
            caption="../report/table1.rst",
            category="Tables",
        ),
        latex=f"{RESULTS}/{{view}}table1.tex",
        csv=f"{RESULTS}/{{view}}table1.csv",
    log:
        notebook=f"{RESULTS}/logs/{{view}}notebooks/table1.ipynb",
        text=f"{RESULTS}/logs/{{view}}notebooks/table1.log",
    conda:
        "../../environment.yml"
    params:
        stem=lambda wildcards, output: os.path.splitext(output.markdown)[0],
        notebook=lambda wildcards, output: notebook_file("table1"),
        code=drawn_by("table1"),
    shell:
        "python -m sign_ablate notebook {params.notebook:q} {log.notebook} -p summary={input.summary} "
        "-p times={input.times} -p campaign={input.campaign} -p out={params.stem} > {log.text} 2>&1"


rule report_html:
    input:
        tables=[f"{RESULTS}/{{view}}{table}" for table in TABLES],
        claims=f"{RESULTS}/{{view}}claims.parquet",
        figures=[
            f"{RESULTS}/{{view}}figures/{figure}.png" for figure in CAMPAIGN.figures
        ],
        tuning=lambda wildcards: tuning_figures(wildcards.view, ["png"]),
        table=f"{RESULTS}/{{view}}table1.md",
    output:
        html=report(
            f"{RESULTS}/{{view}}report.html",
            caption="../report/report.rst",
            category="Report",
        ),
    log:
        notebook=f"{RESULTS}/logs/{{view}}notebooks/report.ipynb",
        text=f"{RESULTS}/logs/{{view}}notebooks/report.log",
    conda:
        "../../environment.yml"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.html),
        figures=json.dumps(
            [
                *CAMPAIGN.figures,
                *(os.path.basename(p)[:-4] for p in tuning_figures("", ["png"])),
            ]
        ),
        notebook=lambda wildcards, output: notebook_file("report"),
        code=[*drawn_by("report"), fingerprint.of_claims()],
    shell:
        "python -m sign_ablate notebook {params.notebook:q} {log.notebook} -p results={params.folder} "
        "-p figures={params.figures:q} --html {output.html} > {log.text} 2>&1"
