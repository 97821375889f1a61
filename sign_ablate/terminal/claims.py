"""Output of `sign-ablate claims`: the ledger of a campaign on a terminal."""

import textwrap
from pathlib import Path

import pyarrow as pa

from sign_ablate.claims.page import numbers, sentence
from sign_ablate.claims.table import LEDGER, Row, read
from sign_ablate.store.layout import PARTIAL
from sign_ablate.terminal.states import columns

_WIDTH = 100


class NoLedgerError(LookupError):
    """A campaign has no ledger that can be read."""


def claims(results: Path, campaign: str) -> str:
    """Format one row per claim: verdict, effect with interval, n, and the reason.

    The ledger of `snakemake partial` is used if the campaign has no other yet.

    Args:
        results: the results folder.
        campaign: name of the campaign.

    Raises:
        NoLedgerError: if there is no ledger.
    """
    folders = [results / campaign, results / campaign / PARTIAL]
    folder = next((folder for folder in folders if (folder / LEDGER).exists()), None)
    if folder is None:
        raise NoLedgerError(f"{folders[0] / LEDGER}: not found; run snakemake, or snakemake partial")
    try:
        rows = read(folder)
    except (OSError, pa.ArrowException) as error:
        raise NoLedgerError(
            f"{folder / LEDGER}: damaged ({str(error).splitlines()[0]}); delete it and run snakemake again"
        ) from None
    lines = columns([("claim", "title", "verdict", "effect", "n"), *map(_row, rows)], left=4)
    return "\n".join([*textwrap.wrap(sentence(rows), _WIDTH), "", *map(str.rstrip, lines)])


def _row(row: Row) -> tuple[str, ...]:
    proxy, where = row["proxy_verdict"], f" ({row['dataset']})" if row["dataset"] else ""
    verdict = f"proxy: {proxy}" if proxy else row["verdict"]
    effect = row["reason"] if row["effect"] is None else numbers(row)
    return f"{row['claim']}{where}", row["title"], verdict, effect, str(row["n"] or "")
