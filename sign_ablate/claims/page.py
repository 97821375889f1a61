"""The ledger as HTML for the report: a summary, counts, and one row per claim with an inline forest plot."""

import html as markup
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sign_ablate.claims.outcome import VERDICTS
from sign_ablate.claims.table import Row

if TYPE_CHECKING:
    from IPython.display import HTML

#: Okabe and Ito's colours, distinguishable with any colour vision; the verdict is always written out, too
COLOURS = {"supported": "#009e73", "refuted": "#d55e00", "unresolved": "#6e6e6e", "not measured": "#a6a6a6"}
#: size of a forest in pixels, and its half-width in margins
_WIDTH, _HEIGHT, _REACH = 200, 22, 6.0
_SCOPES = {"step-level": "single steps", "paper": "the paper's training runs"}
_STYLE = """<style>
table.ledger td { padding: 0.3rem 0.6rem; }
table.ledger td:first-child { min-width: 13rem; }
table.ledger small { color: #555; display: block; }
table.ledger th.family { border-bottom: 1px solid #888; padding-top: 1rem; }
.verdict { border-radius: 3px; color: #fff; padding: 0.05rem 0.4rem; white-space: nowrap; }
.verdict.proxy { background: #fff; border: 1px solid; }
</style>"""
_HEADS = ("Claim", "Verdict", "Effect", f"Effect ÷ margin, −{_REACH:.0f} to {_REACH:.0f}", "n")


def sentence(rows: Sequence[Row], campaigns: int = 1) -> str:
    """Summary of the ledger of one or several campaigns, in a few sentences.

    A claim that is tested on two data sets counts once, unless its verdicts differ. Verdicts of proxies are
    counted per data set.
    """
    paper = [row for row in rows if not row["ours"]]
    said = [f"Of the paper's claims, {_split(_once(paper))}."]
    if proxies := [row for row in rows if row["proxy_verdict"]]:
        one = campaigns == 1
        names = {row["claim"] for row in proxies}
        twice = len(names) < len(proxies)
        number = f"{len(names)} claim{'s' if len(names) > 1 else ''}"
        if twice:
            number = f"{len(proxies)} verdicts on {number}, one per data set"
        said.append(
            f"{'This campaign is a proxy' if one else 'These campaigns are proxies'} of the paper's setting "
            f"({_how(proxies)}) and {'decides' if one else 'decide'} nothing about it; for "
            f"{'itself' if one else 'themselves'}, of {number}, "
            f"{_split([row['proxy_verdict'] for row in proxies])}."
        )
    if ours := _once([row for row in rows if row["ours"]]):
        said.append(f"Of the controls and corrections, {_split(ours)}.")
    return " ".join(said)


def _once(rows: Sequence[Row]) -> list[str]:
    """The distinct verdicts of each claim over its data sets."""
    return [verdict for _, verdict in dict.fromkeys((row["claim"], row["verdict"]) for row in rows)]


def _how(proxies: Sequence[Row]) -> str:
    """Differences of proxies from the paper's setting, such as "epochs: 10 and 20, not tuned in some"."""
    found: dict[str, list[str]] = {}
    for row in proxies:
        for part in row["proxy"].split(", "):
            key, _, value = part.partition(": ")
            found.setdefault(key, []).append(value)
    texts = []
    for key, of in sorted(found.items()):
        values = " and ".join(sorted(set(of)))
        some = " in some" if len(of) < len(proxies) else ""
        texts.append(f"{key}: {values}" if values else f"{key}{some}")
    return ", ".join(texts)


def _split(verdicts: Sequence[str]) -> str:
    """Numbers of verdicts in words, such as "1 is supported and 2 are refuted"."""
    counted = Counter(verdicts)
    texts = [f"{counted[v]} {'is' if counted[v] == 1 else 'are'} {v}" for v in VERDICTS if v in counted]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]])) or "none is tested"


def counts(rows: Sequence[Row]) -> "HTML":
    """Table with the number of rows by scope and verdict, and by the verdict of a proxy."""
    lines = [_tr(["", *(verdict.capitalize() for verdict in VERDICTS)], "th")]
    for name, of in _groups(rows):
        lines.append(_counted(name, [row["verdict"] for row in of]))
        if proxies := [row["proxy_verdict"] for row in of if row["proxy_verdict"]]:
            lines.append(_counted("– verdicts of this proxy", proxies))
    return _html(f"<table>{''.join(lines)}</table>")


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The paper's claims by scope, and then ours."""
    scopes = dict.fromkeys(row["scope"] for row in rows if not row["ours"])
    for scope in scopes:
        name = f"Claims about {_SCOPES.get(scope, scope)}"
        yield name, [row for row in rows if row["scope"] == scope and not row["ours"]]
    if ours := [row for row in rows if row["ours"]]:
        yield "Controls and corrections of ours", ours


def _counted(name: str, verdicts: Sequence[str]) -> str:
    return _tr([name, *(str(verdicts.count(verdict) or "") for verdict in VERDICTS)])


def table(rows: Sequence[Row]) -> "HTML":
    """Table with one row per claim and data set. The grey band of a forest is ± the claim's margin."""
    lines = [_STYLE, '<table class="ledger">', _tr(_HEADS, "th")]
    several = len({row["dataset"] for row in rows} - {None}) > 1
    for family, group in itertools.groupby(rows, key=lambda row: row["family"]):
        lines.append(f'<tr><th class="family" colspan="{len(_HEADS)}">{markup.escape(family)}</th></tr>')
        lines += [_line(row, several) for row in group]
    return _html("\n".join([*lines, "</table>"]))


def _line(row: Row, several: bool) -> str:
    where = row["place"] + (f"; on {row['dataset']}" if several and row["dataset"] else "")
    diverged = f"{row['n_diverged']} diverged" if row["n_diverged"] else ""
    drawn = forest(row)
    cells = [
        f"<td>{markup.escape(row['title'])}{_small(where)}</td>",
        f"<td>{''.join(_verdict(row))}</td>",
        # without a drawing, its place is for the effect and the statement below it
        f"<td>{_effect(row)}</td><td>{drawn}</td>" if drawn else f'<td colspan="2">{_effect(row)}</td>',
        f"<td>{format(row['n'], ',') if row['n'] else ''}{_small(diverged)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _verdict(row: Row) -> Iterator[str]:
    """Verdict as a coloured label, then that of a proxy, the reading and the reason."""
    yield f'<span class="verdict" style="background: {COLOURS[row["verdict"]]}">{row["verdict"]}</span>'
    if proxy := row["proxy_verdict"]:
        yield f' <span class="verdict proxy" style="color: {COLOURS[proxy]}">proxy: {proxy}</span>'
    reading = "" if row["reading"] == "any" or row["effect"] is None else f"reading: {row['reading']}"
    yield _small("; ".join(filter(None, [reading, row["reason"]])))


def _effect(row: Row) -> str:
    if row["effect"] is None:
        return ""
    return f"{markup.escape(numbers(row))}{_small(row['arms'])}"


def numbers(row: Row) -> str:
    """Effect of a row with its unit, and its interval unless exact or unknown; shares in percent."""
    is_share = row["unit"] == "share"
    scale, unit = (100, "%") if is_share else (1, row["unit"])
    form = ".3g" if not unit else "z.2f" if is_share else "+z.2f"
    ends = ["–" if row[key] is None else f"{scale * row[key]:{form}}" for key in ("low", "high")]
    exact = row["comparison"] == "theory" and row["low"] == row["high"]
    unknown = row["low"] is None and row["high"] is None
    interval = "" if exact or unknown else f" [{', '.join(ends)}]"
    return f"{scale * row['effect']:{form}}{interval} {unit}".strip().replace("-", "−")


def forest(row: Row) -> str:
    """Inline SVG of an effect in margins. Thick line: interval for new seeds. Thin: and new test images."""
    if row["low"] is None or not row["margin"] or row["comparison"] == "theory":
        return ""
    colour, middle = COLOURS[row["proxy_verdict"] or row["verdict"]], _HEIGHT / 2
    effect = row["effect"] / row["margin"]
    parts = [
        f'<rect x="{_x(-1)}" width="{2 * (_WIDTH / 2 - _x(-1)):.1f}" height="{_HEIGHT}" fill="#e8e8e8"/>',
        f'<line x1="{_x(0)}" x2="{_x(0)}" y2="{_HEIGHT}" stroke="#888"/>',
        _bar(row, "low", "high", f'stroke="{colour}" stroke-width="3"'),
    ]
    if row["image_low"] is not None:
        parts.append(_bar(row, "image_low", "image_high", f'stroke="{colour}"'))
    if abs(effect) <= _REACH:
        parts.append(f'<circle cx="{_x(effect)}" cy="{middle}" r="4" fill="{colour}"/>')
    else:  # outside of the drawing
        arrow = "▶" if effect > 0 else "◀"
        place = f'x="{_x(effect)}" y="{middle + 4}" text-anchor="middle"'
        parts.append(f'<text {place} font-size="12" fill="{colour}">{arrow}</text>')
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _bar(row: Row, low: str, high: str, stroke: str) -> str:
    ends = [_x(row[key] / row["margin"]) for key in (low, high)]
    return f'<line x1="{ends[0]}" x2="{ends[1]}" y1="{_HEIGHT / 2}" y2="{_HEIGHT / 2}" {stroke}/>'


def _x(margins: float) -> float:
    """Horizontal position of a number of margins, at the edge of the drawing if it lies outside."""
    inside = max(-_REACH, min(_REACH, margins))
    return round(_WIDTH / 2 + (_WIDTH / 2 - 6) * inside / _REACH, 1)


def _tr(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _small(text: str) -> str:
    return f"<small>{markup.escape(text)}</small>" if text else ""


def _html(text: str) -> "HTML":
    from IPython.display import HTML

    return HTML(text)


def heading(rows: Sequence[Row]) -> "HTML":
    """Summary of the ledger as a paragraph."""
    return _html(f"<p>{markup.escape(sentence(rows))}</p>")
