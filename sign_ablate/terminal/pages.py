"""Parts of pages that are made from exported ledgers, and the picture of the ledger's first screen.

A page has a part between two comments, `<!-- verdicts: c10 c100 -->` and `<!-- end -->`. `sign-ablate schema`
writes it from the ledgers of the campaigns that are named, in results/reference.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from sign_ablate.claims import merge, page, table
from sign_ablate.claims.table import Row
from sign_ablate.terminal.claims import NoLedgerError

#: pages with parts
PAGES = ("README.md", "docs/verdict.md", "docs/distributed.md")
_PART = re.compile(r"(<!-- (sentence|verdicts|trained): ([\w .-]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, reference: Path) -> str:
    """Update the generated parts of a page's text.

    `sentence` is a paragraph that summarizes the ledgers, `verdicts` a table with a row per claim and data
    set, and `trained` the rows of this table that trained runs decide.

    Args:
        text: the page.
        reference: folder of the exported campaigns.
    """

    def part(match: re.Match[str]) -> str:
        opening, kind, names, closing = match.groups()
        ledgers = read(names.split(), reference)
        absent = [name for name in names.split() if name not in ledgers]
        lines = []
        if ledgers:
            rows = merge.merged(ledgers)
            if kind == "trained":
                rows = [row for row in rows if row["dataset"] and merge.is_measured(row)]
            lines.append(page.sentence(rows, len(ledgers)) if kind == "sentence" else merge.to_markdown(rows))
            lines += [f"*{line}*" for line in partial(list(ledgers), reference)]
        if absent:
            lines.append(f"*Not exported yet: {', '.join(absent)}.*")
        return opening + "\n" + "\n\n".join(lines) + "\n\n" + closing

    return _PART.sub(part, text)


def read(names: Sequence[str], reference: Path) -> dict[str, list[Row]]:
    """Ledgers of the named campaigns, where they were exported."""
    return {
        name: table.read(reference / name) for name in names if (reference / name / table.LEDGER).exists()
    }


def partial(names: Sequence[str], reference: Path) -> list[str]:
    """Sentence about each exported campaign that had not finished all of its runs."""
    import pandas as pd

    from sign_ablate.analysis import notes, schemas
    from sign_ablate.analysis.table import read_campaign
    from sign_ablate.campaign.grid import expand

    found = []
    for folder in (reference / name for name in names):
        if (folder / schemas.SUMMARY).exists():
            total = len(expand(read_campaign(folder)))
            if line := notes.incomplete(pd.read_parquet(folder / schemas.SUMMARY), total):
                found.append(f"{folder.name} is {line[0].lower()}{line[1:]}")
    return found


def draw(names: Sequence[str], reference: Path, out: Path) -> None:
    """Write the picture of the first screen of exported ledgers as a PNG.

    Args:
        names: names of the campaigns.
        reference: folder of the exported campaigns.
        out: file to write.

    Raises:
        NoLedgerError: if none of the campaigns was exported, or none of their claims is measured.
        OSError: if a file cannot be read or written.
    """
    from sign_ablate.analysis import style
    from sign_ablate.claims.picture import first_screen

    ledgers = read(names, reference)
    if not ledgers:
        raise NoLedgerError(f"{reference}: no ledger of {', '.join(names)}; sign-ablate export writes it")
    rows = merge.merged(ledgers)
    try:
        sentences = [page.sentence(rows, len(ledgers)), *partial(list(ledgers), reference)]
        figure = first_screen(rows, " ".join(sentences))
    except ValueError as error:
        raise NoLedgerError(f"{', '.join(ledgers)}: {error}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with style.context():
        figure.savefig(out, dpi=150, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.05)
