"""The command line: `sign-ablate`, with the commands for users and those of Snakemake's jobs."""

import typer

from sign_ablate.cli import campaigns, jobs, ledger, runs

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Rerunnable ablations of sign-based optimizers.",
)  # fmt: skip
for part in (campaigns, runs, ledger, jobs):
    app.add_typer(part.app)
