"""Evaluation of the claims on a campaign's tables, and the files of the result."""

from pathlib import Path

from sign_ablate.claims import evidence, explore, model, table
from sign_ablate.claims.ledger import ledger


def write(
    tables: Path,
    out: Path,
    page: Path,
    claims: Path | None = None,
    tuned: Path | None = None,
    theory: Path | None = None,
    measurements: Path | None = None,
) -> None:
    """Write the ledger and the interactive page.

    Args:
        tables: folder of the campaign's tables.
        out: table of the ledger to write.
        page: explore.html to write.
        claims: file of the claims; None: claims.yaml.
        tuned: tuned.json of the campaign. It may be missing.
        theory: claims.parquet of the theory lab. It may be missing.
        measurements: measurements.parquet of the benchmarks. It may be missing.

    Raises:
        ConfigError: if the file of the claims is invalid.
        DamagedError: if campaign.json is damaged.
        OSError: if a file cannot be read or written.
    """
    stated = model.load(claims)
    found = evidence.load(tables, tuned, theory, measurements)
    table.write(ledger(stated, found), out, model.digest(claims))
    explore.write(table.read(out), found, page, f"{found.campaign.campaign}: claims")
