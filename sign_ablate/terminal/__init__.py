"""Output for people: the commands about campaigns and runs, and Snakemake's log on the terminal."""
