"""The commands that are Snakemake's jobs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sign_ablate.cli.options import fail

app = typer.Typer()


@app.command()
def prepare(
    spec: Annotated[str, typer.Option(help="The data set as canonical JSON.")],
    out: Annotated[Path, typer.Option(help="The data file to write.")],
    location: Annotated[str, typer.Option(help="Location as JSON: path or download_dir.")] = "{}",
    replaces: Annotated[int, typer.Option(help="Modification time (ns) of the file to replace.")] = 0,
) -> None:
    """Write the uint8 data file of a data set (a Snakemake job)."""
    from sign_ablate.campaign.identity import parse_dataset
    from sign_ablate.config import ConfigError
    from sign_ablate.data.common import DataError
    from sign_ablate.jobs.preparation import prepare as write

    try:
        write(parse_dataset(spec, location), out, replaces=replaces)
    except (ConfigError, DataError, OSError) as error:
        fail(error)


@app.command()
def train(
    spec: Annotated[str, typer.Option(help="The run as canonical JSON: the spec in run.json.")],
    data: Annotated[Path, typer.Option(help="The prepared data file.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: a free GPU, otherwise cpu.")] = "cpu",
    deterministic: Annotated[int, typer.Option(min=0, max=1, help="1: reproducible on a GPU.")] = 0,
    runs_per_gpu: Annotated[int, typer.Option(min=1, help="Runs that may share a GPU.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads, of each rank.")] = 1,
    ranks: Annotated[int, typer.Option(min=1, help="1, or a process for each worker of the run.")] = 1,
    rank_timeout_seconds: Annotated[float, typer.Option(help="Longest time for which ranks wait.")] = 600.0,
    compile_mode: Annotated[str, typer.Option("--compile", help="none, or a torch.compile mode.")] = "none",
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    replaces: Annotated[int, typer.Option(help="Modification time (ns) of the result to replace.")] = 0,
    attempt: Annotated[
        int, typer.Option(min=1, help="Number of the attempt; no retry of a final failure.")
    ] = 1,
) -> None:
    """Train one run (a Snakemake job). Exits with 0 if the run diverges. A finished run is kept."""
    from sign_ablate.jobs import training
    from sign_ablate.jobs.attempt import EXPECTED, forget, repeated
    from sign_ablate.jobs.checkpoint import Interrupted
    from sign_ablate.jobs.gpu import claim
    from sign_ablate.jobs.log import complain, say

    if attempt > 1 and (before := repeated(out)) is not None:
        complain(before.details or f"sign-ablate: error: {before.cause}")
        sys.exit(1)
    try:
        if attempt == 1:
            forget(out)
        result = training.train(
            spec, data, out,
            device=claim(device, runs_per_gpu, ranks), deterministic=bool(deterministic), threads=threads,
            ranks=ranks, rank_timeout_seconds=rank_timeout_seconds, compile_mode=compile_mode,
            checkpoint_seconds=checkpoint_seconds, replaces=replaces,
        )  # fmt: skip
    except EXPECTED as error:
        fail(error)
    except Interrupted as stopped:
        sys.exit(128 + stopped.args[0])
    if result is not None and result.diverged_at_step is not None:
        say(f"diverged: loss or gradient not finite at step {result.diverged_at_step}")


@app.command()
def choose(
    campaign: Annotated[str, typer.Option(help="The campaign as JSON, with its tuning.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
) -> None:
    """Choose the best trial of each search that has no choice yet (a Snakemake job)."""
    import json

    from sign_ablate.config import ConfigError, parse_campaign
    from sign_ablate.jobs.log import say
    from sign_ablate.store.record import DamagedError
    from sign_ablate.tuning.choice import choose as write

    try:
        say(f"choices: {write(parse_campaign(json.loads(campaign)), results)}")
    except (ConfigError, DamagedError, OSError) as error:
        fail(error)


@app.command()
def aggregate(
    campaign: Annotated[str, typer.Option(help="The campaign as JSON.")],
    results: Annotated[Path, typer.Option(help="The results folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    partial: Annotated[bool, typer.Option("--partial", help="Use the runs finished so far.")] = False,
) -> None:
    """Write the tables of a campaign's runs (a Snakemake job)."""
    import json

    from sign_ablate.analysis.aggregate import AggregateError
    from sign_ablate.analysis.aggregate import aggregate as write
    from sign_ablate.config import ConfigError, parse_campaign

    try:
        write(parse_campaign(json.loads(campaign)), results, out, partial=partial)
    except (ConfigError, AggregateError, OSError) as error:
        fail(error)


@app.command()
def ledger(
    tables: Annotated[Path, typer.Option(help="Folder of the campaign's tables.")],
    out: Annotated[Path, typer.Option(help="The table of the ledger to write.")],
    page: Annotated[Path, typer.Option(help="The interactive page to write, explore.html.")],
    claims: Annotated[Path | None, typer.Option(help="File of the claims; default: claims.yaml.")] = None,
    tuned: Annotated[Path | None, typer.Option(help="tuned.json of the campaign; optional.")] = None,
    theory: Annotated[
        Path | None, typer.Option(help="The theory lab's claims.parquet; may be missing.")
    ] = None,
    measurements: Annotated[
        Path | None, typer.Option(help="measurements.parquet of the benchmarks; may be missing.")
    ] = None,
) -> None:
    """Evaluate the claims on a campaign's tables (a Snakemake job)."""
    from sign_ablate.claims import job
    from sign_ablate.config import ConfigError
    from sign_ablate.store.record import DamagedError

    try:
        job.write(tables, out, page, claims, tuned, theory, measurements)
    except (ConfigError, DamagedError, OSError) as error:
        fail(error)


@app.command()
def theory(
    name: Annotated[str, typer.Argument(help="Name of an experiment, or claims: the verdicts.")],
    out: Annotated[Path, typer.Option(help="The table to write.")],
    tables: Annotated[list[Path] | None, typer.Argument(help="For claims: tables of experiments.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of an experiment's random numbers.")] = 0,
) -> None:
    """Run an experiment of the theory lab, which needs no campaign (a Snakemake job)."""
    from sign_ablate.theory import CLAIMS, lab

    try:
        if name == CLAIMS:
            lab.write_claims(tables or [], out)
        else:
            lab.write(name, out, seed)
    except (lab.TheoryError, OSError) as error:
        fail(error)


@app.command()
def notebook(
    source: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook to execute.")],
    out: Annotated[Path, typer.Argument(help="The executed notebook to write.")],
    texts: Annotated[list[str], typer.Option("-p", metavar="NAME=TEXT", help="A parameter.")] = [],  # noqa: B006
    numbers: Annotated[
        list[str], typer.Option("-n", metavar="NAME=NUMBER", help="An integer parameter.")
    ] = [],  # noqa: B006
    html: Annotated[
        Path | None, typer.Option(help="Also write the outputs as one self-contained HTML file.")
    ] = None,
) -> None:
    """Execute a notebook with papermill (a Snakemake job)."""
    from sign_ablate.analysis.export import export
    from sign_ablate.analysis.notebook import NotebookError, execute

    try:
        execute(source, out, {**_parameters(texts, str), **_parameters(numbers, int)})
        if html is not None:
            export(out, html)
    except (NotebookError, OSError) as error:
        fail(error)


def _parameters(texts: list[str], kind: type[str] | type[int]) -> dict[str, Any]:
    """Parse parameters given as NAME=VALUE."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = kind(value)
        except ValueError:
            raise typer.BadParameter(f"{text}: {value!r} is not a whole number") from None
    return found
