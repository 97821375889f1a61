"""Terminal output: the commands about campaigns and runs, and Snakemake's log."""
