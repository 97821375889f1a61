"""`sign-ablate status`: what is done."""

from collections import Counter
from pathlib import Path

from sign_ablate.config.campaign import Campaign
from sign_ablate.grid import expand
from sign_ablate.people.runs import by_cell, columns, state


def status(campaign: Campaign, results: Path) -> str:
    """A line per cell, and the totals: done, diverged, running, missing."""
    runs = expand(campaign)
    states = {run.id: state(results / campaign.campaign / "runs" / run.id) for run in runs}
    rows: list[tuple[str, ...]] = [("", "done", "diverged", "running", "missing")]
    for name, members in by_cell(runs).items():
        count = Counter(states[run.id] for run in members)
        rows.append((name, *(str(count[key] or "·") for key in rows[0][1:])))
    total = Counter(states.values())
    rows.append((f"{len(runs)} runs", *(str(total[key]) for key in rows[0][1:])))
    return "\n".join(columns(rows))
