TUNED_FILE = str(file_of(CAMPAIGN, layout.RESULTS))
CHOSEN = str(
    layout.chosen_mark(
        layout.RESULTS,
        CAMPAIGN.campaign,
        short_hash("".join(search.hash for search in PENDING)),
    )
)
TO_TRAIN = [str(layout.metrics_file(layout.RESULTS, run)) for run in TRIALS] or METRICS
if PENDING and workflow.is_main_process:
    # Choices were stored and are gone, or are those of another search again.
    pathlib.Path(CHOSEN).unlink(missing_ok=True)
    absent = sum(not os.path.exists(path) for path in TO_TRAIN)
    trials = (
        f"{absent} of the {len(TRIALS)}" if absent < len(TRIALS) else f"their {absent}"
    )
    logger.warning(
        f"{TUNED_FILE}: {missing(CAMPAIGN, layout.RESULTS)}. This call makes {trials} trials and chooses; the "
        "next call goes on with the evaluation (make verdict calls both)."
    )
if workflow.is_main_process and (omitted := left_out(CAMPAIGN)):
    if not TO_TRAIN:
        sys.exit(f"{TUNED_FILE}: no cell is left to evaluate. {omitted}")
    logger.warning(f"{TUNED_FILE}: {omitted}")


# The file of the choices is not declared: it keeps the choices of other searches, and may be in a repository.
rule choose:
    input:
        TO_TRAIN if PENDING else [],
    output:
        touch(CHOSEN),
    log:
        str(layout.choose_log(layout.RESULTS, CAMPAIGN.campaign)),
    conda:
        "../../environment.yml"
    params:
        campaign=campaign_spec(CAMPAIGN, tuning=True),
        results=lambda wildcards: layout.RESULTS,
    shell:
        "python -m sign_ablate choose --campaign {params.campaign:q} --results {params.results} "
        "> {log} 2>&1"


rule tune:
    input:
        CHOSEN if PENDING else [],
    message:
        f"The choices are in {TUNED_FILE}. The next call of snakemake makes the evaluation."
