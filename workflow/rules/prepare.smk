rule prepare:
    input:
        images_of,
    output:
        # `update`, here and for runs: Snakemake would delete the file before the job, while another Snakemake,
        # which has made it a moment ago, reads it. Jobs replace their files in one step.
        update(str(layout.data_file(layout.RESULTS, "{data}"))),
    log:
        f"{RESULTS}/logs/prepare/{{data}}.log",
    conda:
        "../../environment.yml"
    params:
        command=prepare_command,
    shell:
        "{params.command} > {log} 2>&1"
