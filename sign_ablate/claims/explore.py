"""The interactive page, explore.html: one file that works offline. A click on a claim shows its evidence."""

import json
from pathlib import Path
from typing import Any

import altair as alt

from sign_ablate.claims import explore_data as data
from sign_ablate.claims.evidence import Evidence
from sign_ablate.claims.page import COLOURS
from sign_ablate.claims.table import Row
from sign_ablate.store.run_files import write_text

_WIDTH = 460
#: Without it, a window narrower than the charts shrinks their width and not their height, which leaves the
#: page's top blank.
_STYLE = "<style>body #vis.vega-embed { display: block; width: max-content; }</style>"
#: cells of the claim that was clicked, and cells that were clicked themselves
_CHOSEN = (
    "(isValid(claim.cells) && indexof(claim.cells[0], '|' + datum.cell + '|') >= 0)"
    " || (isValid(method.cell) && indexof(method.cell, datum.cell) >= 0)"
)
_OF_CLAIM = "isValid(claim.row) && indexof(claim.row, datum.row) >= 0"


class _InScript(json.JSONEncoder):
    """Encoder for a script element of HTML, which a text with `</script>` would end."""

    def encode(self, o: Any) -> str:
        """Encode with `</` as the equal `<\\/`."""
        return super().encode(o).replace("</", r"<\/")


def write(rows: list[Row], evidence: Evidence, path: Path, title: str) -> None:
    """Write the page.

    Args:
        rows: the ledger.
        evidence: the tables that it was made from.
        path: file to write.
        title: title of the page.

    Raises:
        OSError: if it cannot be written.
    """
    html: str = page(rows, evidence, title).to_html(
        inline=True, embed_options={"actions": False}, json_kwds={"cls": _InScript}
    )
    write_text(path, html.replace("<head>", f"<head>\n  <title>{title}</title>\n  {_STYLE}", 1))


def page(rows: list[Row], evidence: Evidence, title: str) -> alt.HConcatChart:
    """Linked charts: claims and methods to select on the left, their evidence on the right."""
    right = [_details(rows), _seeds(evidence), _curves(evidence), _specifications(evidence)]
    if evidence.tuned:
        right.insert(3, _trials(evidence))
    charts = alt.hconcat(
        alt.vconcat(_claims(rows), _methods(evidence)).resolve_scale(color="independent"),
        alt.vconcat(*right).resolve_scale(color="shared"),
    )
    return (
        charts.resolve_scale(color="independent")
        .properties(title=alt.Title(title, subtitle="Click a claim or a method; a double click clears."))
        .configure_axis(labelLimit=420)
        .configure_view(stroke=None)
    )


def _chart(name: str, records: data.Records, **properties: Any) -> alt.Chart:
    """A named chart. Altair numbers unnamed ones, so that the page would depend on earlier charts."""
    return alt.Chart(alt.InlineData(values=records), name=name, **properties)


def _claims(rows: list[Row]) -> alt.HConcatChart:
    """Selectable titles of the claims beside their forest plot."""
    records = data.claims(rows)
    first = next((r for r in records if "effect" in r and r["cells"] != data.NO_CELLS), records[0])
    claim = alt.selection_point(
        "claim", fields=["row", "cells"], value=[{"row": first["row"], "cells": first["cells"]}]
    )
    verdicts = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    colour = alt.Color("verdict:N", scale=verdicts, legend=None)
    y = alt.Y("row:N", sort=None, axis=None)
    titles = (
        _chart("claims", records, width=410, height={"step": 17}, title="Claims")
        .mark_text(align="left", cursor="pointer", limit=410)
        .encode(
            y=y,
            x=alt.value(0),
            text="title:N",
            color=alt.condition(claim, alt.value("#0050a0"), alt.value("#222")),
            size=alt.condition(claim, alt.value(12), alt.value(11)),
            tooltip=["title:N", "shown:N"],
        )
        .add_params(claim)
    )
    x = alt.X("effect:Q", scale=alt.Scale(domain=[-data.REACH, data.REACH]), title="Effect ÷ margin")
    forest = alt.layer(
        alt.Chart(name="band").mark_bar(color="#e8e8e8").encode(y=y, x=alt.datum(-1), x2=alt.datum(1)),
        alt.Chart(name="bars").mark_rule(strokeWidth=2).encode(y=y, x="low:Q", x2="high:Q", color=colour),
        alt.Chart(name="effects").mark_point(filled=True, size=50).encode(y=y, x=x, color=colour),
        data=alt.InlineData(values=records),
    )
    shown = alt.Chart(name="verdicts").mark_text(align="left")
    words = shown.encode(y=y, x=alt.value(0), text="shown:N", color=colour)
    return alt.hconcat(
        titles,
        forest.properties(width=180, height={"step": 17}),
        words.properties(width=110, height={"step": 17}, data=alt.InlineData(values=records)),
        spacing=4,
    )


def _methods(evidence: Evidence) -> alt.Chart:
    method = alt.selection_point("method", fields=["cell"])
    return (
        _chart("methods", data.runs(evidence), width=300, height={"step": 15}, title="Methods")
        .mark_tick(cursor="pointer", thickness=2)
        .encode(
            # names on the left would indent the claims above
            y=alt.Y("cell:N", sort=None, title=None, axis=alt.Axis(orient="right")),
            x=alt.X("accuracy:Q", scale=alt.Scale(zero=False), title="Test accuracy of each run (%)"),
            opacity=alt.condition(method, alt.value(1), alt.value(0.3)),
            tooltip=["cell:N", "seed:O", "accuracy:Q", "run:N"],
        )
        .add_params(method)
    )


def _details(rows: list[Row]) -> alt.Chart:
    return (
        _chart("details", data.details(rows), width=_WIDTH, height={"step": 15})
        .mark_text(align="left", limit=900)
        .encode(
            y=alt.Y("line:O", axis=None),
            x=alt.value(0),
            text="text:N",
            size=alt.condition("datum.line == 0", alt.value(13), alt.value(11)),
        )
        .transform_filter(_OF_CLAIM)
    )


def _seeds(evidence: Evidence) -> alt.Chart:
    return (
        _chart("seeds", data.runs(evidence), width=_WIDTH, height={"step": 20}, title="Seeds")
        .mark_point(filled=True, size=45)
        .encode(
            y=alt.Y("cell:N", title=None),
            x=alt.X("accuracy:Q", scale=alt.Scale(zero=False), title="Test accuracy of the last epoch (%)"),
            color=alt.Color("cell:N", legend=None),
            tooltip=["cell:N", "seed:O", "accuracy:Q", "status:N", "run:N"],
        )
        .transform_filter(_CHOSEN)
    )


def _curves(evidence: Evidence) -> alt.Chart:
    return (
        _chart("curves", data.curves(evidence), width=_WIDTH, height=220, title="Curves")
        .mark_line(strokeWidth=1)
        .encode(
            x=alt.X("epoch:Q", title="Epoch"),
            y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False), title="Test accuracy (%)"),
            color=alt.Color("cell:N", legend=None),
            detail="seed:N",
            tooltip=["cell:N", "seed:O", "epoch:Q", "accuracy:Q"],
        )
        .transform_filter(_CHOSEN)
    )


def _trials(evidence: Evidence) -> alt.Chart:
    return (
        _chart(
            "trials", data.trials(evidence), width=_WIDTH, height=180, title="Trials; the choice is filled"
        )
        .mark_point(size=50)
        .encode(
            x=alt.X("lr:Q", scale=alt.Scale(type="log"), title="Learning rate"),
            y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False), title="Validation accuracy (%)"),
            color=alt.Color("cell:N", legend=None),
            fillOpacity=alt.condition("datum.chosen", alt.value(1), alt.value(0)),
            fill=alt.Fill("cell:N", legend=None),
            tooltip=["cell:N", "values:N", "accuracy:Q"],
        )
        .transform_filter(_CHOSEN)
    )


def _specifications(evidence: Evidence) -> alt.Chart:
    records = data.specifications(evidence)
    return (
        _chart("specifications", records, width={"step": 130}, height={"step": 15}, title="Specification")
        .mark_text(limit=125)
        .encode(
            x=alt.X("cell:N", title=None, axis=alt.Axis(orient="top", labelAngle=-20, labelLimit=300)),
            y=alt.Y("key:N", title=None),
            text="value:N",
            color=alt.Color("cell:N", legend=None),
            tooltip=["cell:N", "key:N", "value:N"],
        )
        .transform_filter(_CHOSEN)
    )
