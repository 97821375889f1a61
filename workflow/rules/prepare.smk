rule prepare:
    input:
        images_of,
    output:
        # `update`, here and for runs, keeps Snakemake from deleting the file before the job. Another process
        # may have made it meanwhile and may be reading it. Jobs replace their files atomically.
        update(str(layout.data_file(layout.RESULTS, "{data}"))),
    log:
        f"{RESULTS}/logs/prepare/{{data}}.log",
    conda:
        "../../environment.yml"
    params:
        command=prepare_command,
    shell:
        "{params.command} > {log} 2>&1"
