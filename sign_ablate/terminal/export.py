"""`sign-ablate export`: the part of a campaign's results from which `rebuild` makes the rest."""

import contextlib
import datetime
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sign_ablate.analysis import schemas, style
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.campaign.identity import campaign_spec
from sign_ablate.claims import model, seeds, table
from sign_ablate.config.campaign import TUNING_FIGURE, Campaign
from sign_ablate.config.data import LOCATION
from sign_ablate.repository import claims_file
from sign_ablate.store import layout, reading
from sign_ablate.store.record import DamagedError, read_json
from sign_ablate.store.run_files import write_text
from sign_ablate.terminal import pages
from sign_ablate.terminal.claims import NoLedgerError
from sign_ablate.tuning.choice import file_of
from sign_ablate.tuning.search import searches

#: files of every campaign, which `rebuild` needs
NEEDED = (
    schemas.CAMPAIGN,
    schemas.RUNS,
    schemas.EPOCHS,
    schemas.SUMMARY,
    schemas.TIMES,
    schemas.PREDICTIONS,
)
TABLE = "table1.md"
TUNED = "tuned.json"
PROVENANCE = "provenance.json"


class ExportError(Exception):
    """A campaign's results cannot be exported, or an exported campaign cannot be rebuilt."""


def export(
    campaign: Campaign,
    config: Sequence[Path],
    results: Path,
    out: Path,
    partial: bool = False,
    overrides: Sequence[str] = (),
) -> str:
    """Copy tables, ledger, choices of the tuning and figures (PNG) of a campaign, and draw its ledger.

    Also writes provenance.json: the command, the date, machines, commits, and core-hours by stage.

    Args:
        campaign: the campaign.
        config: its configuration files, for the command in provenance.json.
        results: the results folder.
        out: folder to write.
        partial: take the results of `snakemake partial`.
        overrides: values such as `seeds=[0]`, for the same command.

    Returns:
        A line on what was written.

    Raises:
        ExportError: if the results are missing, or of another configuration or another claims.yaml, or if
            `out` has other files.
        DamagedError: if campaign.json is damaged.
        OSError: if a file cannot be read or written.
    """
    folder = layout.campaign_folder(results, campaign.campaign)
    if partial:
        folder /= layout.PARTIAL
    target = " partial" if partial else ""
    if missing := [name for name in (*NEEDED, table.LEDGER, TABLE) if not (folder / name).exists()]:
        raise ExportError(f"{folder / missing[0]}: not found; run snakemake{target} for this campaign first")
    stored = read_json(folder / schemas.CAMPAIGN, Campaign, "delete it and run snakemake again")
    if campaign_spec(stored) != campaign_spec(campaign):
        raise ExportError(
            f"{folder / schemas.CAMPAIGN}: made from another configuration; run snakemake{target} again"
        )
    ledger = folder / table.LEDGER
    try:
        of_ledger = table.claims_digest(ledger)
    except pa.ArrowException as error:
        problem = f"damaged ({str(error).splitlines()[0]})"
        raise ExportError(f"{ledger}: {problem}; delete it and run snakemake{target} again") from None
    if of_ledger != model.digest():
        raise ExportError(f"{ledger}: not made with the present {claims_file()}; run snakemake{target} again")
    return keep(
        campaign, folder, file_of(campaign, results), provenance(campaign, config, results, overrides), out
    )


def keep(campaign: Campaign, folder: Path, tuned: Path, origin: dict[str, Any], out: Path) -> str:
    """Copy tables, ledger, choices of the tuning and figures (PNG) to `out`, and draw the ledger.

    Args:
        campaign: the campaign that the tables were made from.
        folder: folder with the tables and figures.
        tuned: file of the choices, copied if the campaign tunes.
        origin: content of provenance.json.
        out: folder to write.

    Returns:
        A line on what was written.

    Raises:
        ExportError: if `out` is `folder`, has other files than those of an export, or cannot be made.
        OSError: if a file cannot be read or written.
    """
    check_out(out, folder)
    # Snakemake leaves the figures that a campaign once had.
    tuning = {f"{TUNING_FIGURE}{name}{suffix}" for name in campaign.datasets for suffix in ("", "-lr")}
    figures = [path for path in folder.glob("figures/*.png") if path.stem in {*campaign.figures, *tuning}]
    shutil.rmtree(out / "figures", ignore_errors=True)  # those of figures that the campaign no longer has
    try:
        (out / "figures").mkdir(parents=True)
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
        raise ExportError(f"{out}: {problem}; give --out a folder that can be written") from None
    copied = [folder / name for name in (*NEEDED, schemas.PROBES, table.LEDGER, TABLE)]
    for path in [*copied, *figures]:
        if path.exists():
            shutil.copyfile(path, out / path.relative_to(folder))
    if not (folder / schemas.PROBES).exists():
        (out / schemas.PROBES).unlink(missing_ok=True)  # of an earlier configuration
    if campaign.tuning is None:
        (out / TUNED).unlink(missing_ok=True)
    elif tuned.exists() and tuned.resolve() != (out / TUNED).resolve():
        shutil.copyfile(tuned, out / TUNED)
    draw_ledger(out)
    write_text(out / PROVENANCE, json.dumps(origin, indent=1, ensure_ascii=False) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    next_step = f"sign-ablate rebuild {shlex.quote(str(out))} makes its ledger and report again"
    return f"{out}: {size / 1e6:.1f} MB; {next_step}"


def check_out(out: Path, source: Path | None = None) -> None:
    """Raise ExportError for `source`, and for files that no export wrote: its figures would be deleted."""
    if source is not None and out.resolve() == source.resolve():
        raise ExportError(f"{out}: is the folder that is exported; give --out another")
    if out.is_dir() and any(out.iterdir()):
        of_campaign = (out / layout.RUNNING).exists()  # the results themselves, of this campaign or another
        if of_campaign or not (out / schemas.CAMPAIGN).exists():
            raise ExportError(
                f"{out}: has other files than those of an export; give --out a new folder, or that of an "
                "earlier export"
            )


def draw_ledger(out: Path) -> None:
    """Draw the ledger's first screen and the seeds that its claims need. Neither if no claim is measured."""
    rows = table.read(out)
    figures = out / "figures"
    with contextlib.suppress(NoLedgerError):
        pages.draw([out.name], out.parent, figures / "ledger.png")
    if decisive := seeds.needed(rows):
        with style.context():
            seeds.figure(decisive).savefig(figures / "seeds.png", dpi=150, metadata={"Software": None})


def provenance(
    campaign: Campaign, config: Sequence[Path], results: Path, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Command, date, machines, commits, and runs and core-hours by stage, from the runs that exist."""
    trials = [run for search in searches(campaign) for run in search.runs()]
    stages = {"tuning": trials, "evaluation": expand(campaign)}
    found = {
        name: [environment for run in runs if (environment := _environment(run, results)) is not None]
        for name, runs in stages.items()
    }
    every = [environment for environments in found.values() for environment in environments]
    return {
        "command": _command(campaign, config, overrides),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machines": _most_common([e.cpu if e.device == "cpu" else e.device for e in every]),
        "commits": _most_common([e.git_commit for e in every]),
        "stages": {
            name: {
                "runs": len(environments),
                "core_hours": round(sum(map(_core_seconds, environments)) / 3600, 2),
            }
            for name, environments in found.items()
            if stages[name]
        },
    }


def _command(campaign: Campaign, config: Sequence[Path], overrides: Sequence[str]) -> str:
    """The command that makes a campaign. It has no location of data, which differs between machines."""
    files = " ".join(shlex.quote(str(path)) for path in config)
    given = [text.partition("=") for text in overrides]
    values = [
        shlex.quote(f"{key.replace('.', '__')}={value}")
        for key, _, value in given
        if not key.startswith("execution.") and key.rpartition(".")[2] not in LOCATION
    ]
    if campaign.tuning and not values:
        return f"make verdict CONFIG={files if len(config) == 1 else shlex.quote(files)}"
    command = f"snakemake --cores all --configfile {files}" + (
        f" --config {' '.join(values)}" if values else ""
    )
    return f"{command} (after the same with the target tune)" if campaign.tuning else command


def _environment(run: Run, results: Path) -> reading.Environment | None:
    folder = layout.run_folder(results, run.id)
    if not layout.metrics_file(results, run.id).exists():
        return None
    try:
        return reading.environment(folder)
    except DamagedError:
        return None


def _core_seconds(environment: reading.Environment) -> float:
    """Time of a run on all threads of all its ranks. 0 if the time is not known."""
    return (environment.seconds or 0) * (environment.threads or 1) * (environment.ranks or 1)


def _most_common(values: Sequence[str | None]) -> list[str]:
    return [value for value, _ in Counter(value or "unknown" for value in values).most_common()]
