from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"
include: "workflow/rules/locks.smk"
include: "workflow/rules/commands.smk"
include: "workflow/rules/products.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/ledger.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/theory.smk"


report: "workflow/report/workflow.rst"


# Every run is listed, not only what is made of them: a failed rerun deletes its output, and
# an aggregate that is newer than all that is left would end in "nothing to be done".
# Before the evaluation, `tune` chooses the values that are still unknown.
rule all:
    default_target: True
    input:
        [CHOSEN] if PENDING else [*METRICS, *products("")],


rule partial:
    input:
        products("partial/"),
    message:
        "What is known so far is in {RESULTS}/partial."
