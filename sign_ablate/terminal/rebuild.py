"""`sign-ablate rebuild`: ledger, figures, table and report of a campaign from its exported tables alone."""

import contextlib
import io
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sign_ablate.analysis import schemas
from sign_ablate.analysis.export import export as export_html
from sign_ablate.analysis.notebook import execute
from sign_ablate.analysis.table import read_campaign
from sign_ablate.claims import job, table
from sign_ablate.config.campaign import Campaign
from sign_ablate.config.errors import ConfigError
from sign_ablate.repository import LAB_FILE, MEASUREMENTS_FILE, ROOT
from sign_ablate.store import layout
from sign_ablate.store.record import DamagedError
from sign_ablate.terminal.export import NEEDED, TABLE, TUNED, ExportError, draw_ledger
from sign_ablate.tuning.choice import check_evaluated, evaluated

NOTEBOOKS = ROOT / "notebooks"


def exported(reference: Path) -> list[Path]:
    """Folders of the campaigns in `reference` that were exported."""
    return sorted(path.parent for path in reference.glob(f"*/{schemas.RUNS}"))


def rebuild(sources: Sequence[Path], out: Path, *, update: bool = False) -> str:
    """Make ledger, interactive page, figures, table and report of exported campaigns again.

    Nothing is trained, and nothing is read but the exported files, `claims.yaml`, and the results of the
    theory lab and of the benchmarks in the repository.

    Args:
        sources: folders that `sign-ablate export` wrote.
        out: folder with a folder for each campaign.
        update: also replace ledger, table and figures in the exported folders, such as after an edit of
            claims.yaml.

    Returns:
        A line per campaign: seconds, and the verdicts that differ from those that were exported.

    Raises:
        ExportError: if a file of a folder is missing or damaged, or if the folder is one in `out`.
        ConfigError: if claims.yaml is invalid.
        NotebookError: if a notebook fails.
        OSError: if a file cannot be read or written.
    """
    if not sources:
        raise ExportError("no campaign to rebuild; sign-ablate export makes one from results")
    found: dict[Path, tuple[Path, Campaign]] = {}
    for source in sources:
        campaign = checked(source)
        folder = layout.campaign_folder(out, campaign.campaign)
        if folder in found:
            raise ExportError(f"{found[folder][0]}, {source}: both would be rebuilt in {folder}; give one")
        if folder.resolve() == source.resolve():
            raise ExportError(f"{source}: was made by rebuild; give the folder that sign-ablate export wrote")
        found[folder] = source, campaign
    lines = []
    for folder, (source, campaign) in found.items():
        start = time.perf_counter()
        rebuild_one(source, campaign, folder)
        seconds = time.perf_counter() - start
        lines.append(f"{folder}: ledger and report in {seconds:.0f} s; {_compared(source, folder)}")
        if update:
            _update(source, folder)
    return "\n".join(lines)


def _update(source: Path, folder: Path) -> None:
    """Replace what an export has of ledger, table and figures by what was rebuilt."""
    figures = [f"figures/{path.name}" for path in (source / "figures").glob("*.png")]
    for name in (table.LEDGER, TABLE, *figures):
        if (folder / name).exists():
            shutil.copyfile(folder / name, source / name)
    draw_ledger(source)


def rebuild_one(source: Path, campaign: Campaign, out: Path) -> None:
    """Make ledger, interactive page, figures, table and report in `out` from the tables in `source`.

    Raises ConfigError if claims.yaml is invalid, NotebookError if a notebook fails, or OSError.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "figures").mkdir(parents=True)
    for name in (*NEEDED, schemas.PROBES, TUNED):
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)
    job.write(
        out, out / table.LEDGER, out / "explore.html",
        tuned=out / TUNED, theory=LAB_FILE, measurements=MEASUREMENTS_FILE,
    )  # fmt: skip
    figures = _figures(campaign, out)
    table1 = {name: out / f"{name}.parquet" for name in ("summary", "times")}
    _run("table1", out, "table1", {**table1, "campaign": out / schemas.CAMPAIGN, "out": out / "table1"})
    executed = _run("report", out, "report", {"results": out, "figures": json.dumps(figures)})
    export_html(executed, out / "report.html")


def checked(source: Path) -> Campaign:
    """The campaign of an exported folder, all of whose files can be read. Raises ExportError."""
    if missing := [name for name in NEEDED if not (source / name).exists()]:
        raise ExportError(f"{source / missing[0]}: not found; sign-ablate export writes it")
    path = source / schemas.CAMPAIGN
    try:
        campaign = read_campaign(path)
        for path in (source / name for name in (*NEEDED, schemas.PROBES, table.LEDGER)):
            if path.suffix == ".parquet" and path.exists():
                pq.read_table(path)
        path = source / TUNED
        if path.exists():
            check_evaluated(path, campaign)
    except ConfigError as error:
        raise ExportError(str(error)) from None
    except (DamagedError, pa.ArrowException, ValueError) as error:
        reason = f"{path}: damaged ({str(error).splitlines()[0]})"
        problem = error.problem if isinstance(error, DamagedError) else reason
        raise ExportError(f"{problem}; restore it, or sign-ablate export it again") from None
    return campaign


def _figures(campaign: Campaign, out: Path) -> list[str]:
    """Draw all figures. Returns their names, in the order of the report."""
    names = []
    for name, figure in campaign.figures.items():
        given = {"epochs": out / schemas.EPOCHS, "dataset": figure.dataset, "out": out / "figures" / name}
        _run(figure.kind, out, name, {**given, **figure.parameters()})
        names.append(name)
    for dataset, choices in evaluated(out / TUNED, campaign).items():
        if choices:
            name = f"tuning-{dataset}"
            given = {"tuned": out / TUNED, "campaign": out / schemas.CAMPAIGN, "out": out / "figures" / name}
            _run("tuning", out, name, {**given, "dataset": dataset})
            names += [name, f"{name}-lr"]
    return names


def _run(notebook: str, folder: Path, name: str, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook on the files of a folder, and return the path of the executed one."""
    executed = folder / "logs" / "notebooks" / f"{name}.ipynb"
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()}
    with contextlib.redirect_stdout(io.StringIO()):  # which is for a log; it is in `executed`, too
        execute(NOTEBOOKS / f"{notebook}.ipynb", executed, texts)
    return executed


def _compared(source: Path, out: Path) -> str:
    """Clause on the difference between the exported ledger and the rebuilt one."""
    try:
        before = (source / table.LEDGER).read_bytes()
        old = {(row["claim"], row["dataset"]): _verdicts(row) for row in table.read(source)}
    except (OSError, pa.ArrowException):
        return f"{source} has no ledger to compare with"
    if before == (out / table.LEDGER).read_bytes():
        return f"the ledger is that of {source}, byte for byte"
    new = {(row["claim"], row["dataset"]): _verdicts(row) for row in table.read(out)}
    changed = sorted({claim for (claim, _), _ in old.items() ^ new.items()})
    if not changed:
        return f"all verdicts are those of {source}"
    return f"verdicts that differ from {source}: {', '.join(changed)}"


def _verdicts(row: table.Row) -> tuple[str, str | None]:
    return row["verdict"], row["proxy_verdict"]
