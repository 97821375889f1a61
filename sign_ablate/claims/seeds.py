"""Number of seeds needed to detect a difference as large as a claim's margin, or as the observed one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sign_ablate.analysis import style
from sign_ablate.claims.page import COLOURS
from sign_ablate.claims.statistics import LOOKS, seeds_needed
from sign_ablate.claims.table import Row

#: probability with which that many seeds detect the difference
POWER = 0.8
#: more seeds than this are drawn at the edge
MOST = 1000
#: comparisons of an effect with another value than 0
_OTHERS = {"hand-off", "interaction", "not-worse", "value"}
_ROW = 0.2
_LOOK: dict[str, Any] = {"color": "#888888", "linewidth": 0.8, "linestyle": (0, (4, 2))}


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Seeds of a claim on a data set.

    Attributes:
        title: the claim, with the data set if there are several.
        verdict: its verdict, or that of a proxy.
        n: seeds that it was tested with.
        for_margin: seeds that detect a true difference as large as the margin with probability POWER. Plan
            with this number.
        for_effect: the same for a true difference as large as the observed one. It tells how far the test
            was from a decision. It is no estimate of power, since the observed difference is uncertain.
    """

    title: str
    verdict: str
    n: int
    for_margin: int | None
    for_effect: int | None


def needed(rows: Sequence[Row]) -> list[Seeds]:
    """Seeds for the claims on differences in points that were measured with several seeds.

    A number above MOST is replaced by None. The level is the one that the claim was tested at.
    """
    several = len({row["dataset"] for row in rows} - {None}) > 1
    return [
        Seeds(
            row["title"] + (f" ({row['dataset']})" if several else ""),
            row["proxy_verdict"] or row["verdict"],
            row["n"],
            *(_seeds(row["sd"], difference, row["alpha"]) for difference in (row["margin"], row["effect"])),
        )
        for row in rows
        if row["unit"] == "points" and row["comparison"] not in _OTHERS and row["sd"] is not None
    ]


def _seeds(sd: float, difference: float, alpha: float) -> int | None:
    if abs(difference) < sd / MOST**0.5:  # the interval of MOST seeds would not exclude 0
        return None
    found = seeds_needed(sd, difference, alpha, POWER)
    return found if found <= MOST else None


def figure(claims: Sequence[Seeds]) -> Figure:
    """Draw the seeds of each claim. An arrow stands for more than MOST.

    Raises:
        ValueError: if there is no claim.
    """
    if not claims:
        raise ValueError("no difference was measured with several seeds")
    with style.context():
        drawn = Figure(figsize=(2 * style.WIDTH, 1.2 + _ROW * len(claims)), layout="constrained")
        axes = drawn.add_subplot()
        for seeds in LOOKS:
            axes.axvline(seeds, **_LOOK)
        for y, claim in enumerate(claims):
            colour = COLOURS[claim.verdict]
            axes.plot(claim.n, y, "|", color=colour, markersize=9, markeredgewidth=1.6)
            for seeds_of, marker, fill in ((claim.for_margin, "o", "none"), (claim.for_effect, "D", colour)):
                shape = marker if seeds_of is not None else ">"
                axes.plot(seeds_of or MOST, y, shape, color=colour, markerfacecolor=fill, markersize=4)
        axes.set_xscale("log", base=2)
        axes.set_xlim(1.8, MOST * 1.15)
        ticks = (2, 4, *LOOKS, 32, 64, 128, 256, 512, MOST)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_yticks(range(len(claims)), [claim.title for claim in claims])
        axes.set_ylim(len(claims) - 0.4, -0.6)
        axes.set_xlabel("Seeds")
        axes.grid(axis="y", visible=False)
        power = f"power: {100 * POWER:.0f} %"
        marks = {
            "seeds of this campaign": ("|", "none"),
            f"needed for a difference as large as the margin ({power})": ("o", "none"),
            f"needed for the observed difference ({power})": ("D", "#444444"),
        }
        handles = [
            Line2D([], [], color="#444444", linestyle="", marker=marker, markerfacecolor=fill, label=label)
            for label, (marker, fill) in marks.items()
        ]
        handles.append(
            Line2D([], [], label=f"looks of the protocol: {LOOKS[0]} and {LOOKS[1]} seeds", **_LOOK)
        )
        drawn.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return drawn
