"""Tables and HTML of the report."""

import base64
import dataclasses
import html as markup
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sign_ablate.analysis import notes, schemas, stats, style
from sign_ablate.analysis.table import read_campaign, table1, to_markdown
from sign_ablate.campaign.grid import expand, left_out
from sign_ablate.config.campaign import Campaign

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Report:
    """Tables of a campaign, or of its runs finished so far."""

    folder: Path
    campaign: Campaign
    runs: pd.DataFrame
    summary: pd.DataFrame
    times: pd.DataFrame


def load(results: str | Path) -> Report:
    """Read the folder that `aggregate` wrote."""
    folder = Path(results)
    tables = [pd.read_parquet(folder / name) for name in (schemas.RUNS, schemas.SUMMARY, schemas.TIMES)]
    return Report(folder, read_campaign(folder), *tables)


def heading(report: Report) -> "HTML":
    """Heading with the campaign's name and size, and warnings of missing runs and of different code."""
    campaign = report.campaign
    total, diverged = len(expand(campaign)), int((report.runs["status"] == "diverged").sum())
    seeds = ", ".join(map(str, campaign.seeds))
    text = f"{len(report.runs)} of {total} runs, {diverged} of them diverged; seeds {seeds}."
    if missing := notes.incomplete(report.summary, total):
        text = f"<strong>{missing}</strong> {text}"
    if omitted := left_out(campaign):
        text += f"</p><p><strong>{markup.escape(omitted)}</strong>"
    if different := notes.different_code(report.times):
        text += f"</p><p><strong>{markup.escape(different)}</strong>"
    return _html(f"<h1>{markup.escape(campaign.campaign)}: report</h1><p>{text}</p>")


def heading3(text: str) -> "HTML":
    """A heading within a section."""
    return _html(f"<h3>{markup.escape(text)}</h3>")


def methods_table(campaign: Campaign) -> pd.DataFrame:
    """Table of the methods as configured: optimizer and options."""
    rows = [
        {"Method": label, "Optimizer": values["optimizer"], "Options": _options(values, {"optimizer"})}
        for label, values in campaign.methods.items()
    ]
    return pd.DataFrame(
        [*rows, {"Method": "(all)", "Optimizer": "", "Options": _options(campaign.train, set())}]
    )


def data_table(campaign: Campaign) -> pd.DataFrame:
    """Table of the data sets as configured."""
    rows = []
    for label, data in campaign.datasets.items():
        values = data.model_dump(exclude_unset=True)
        rows.append({"Data set": label, "Source": data.source, "Options": _options(values, {"source"})})
    return pd.DataFrame(rows)


def _options(values: dict[str, Any], without: set[str]) -> str:
    texts = (f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in values.items() if k not in without)
    return ", ".join(texts).replace('"', "") or "defaults"


def reference(summary: pd.DataFrame, dataset: str, optimizer: str) -> str | None:
    """Label of the reference cell of an optimizer, or None if it has no finished run.

    Of several cells, it is the best on validation data. Without validation data it is the best on the test
    set, which favours the reference over the other methods.
    """
    cells = summary[(summary["dataset"] == dataset) & (summary["optimizer"] == optimizer)]
    by = "val_mean" if cells["val_mean"].notna().any() else "mean"
    best = cells.dropna(subset=[by]).nlargest(1, by)
    return None if best.empty else str(best["label"].iloc[0])


def differences(report: Report, dataset: str, optimizer: str) -> pd.DataFrame:
    """Table of the differences to the reference cell of `optimizer`, paired by seed, in percentage points."""
    chosen = reference(report.summary, dataset, optimizer)
    rows = []
    for label in report.summary.loc[report.summary["dataset"] == dataset, "label"]:
        if chosen is None or label == chosen:
            continue
        difference = stats.paired_difference(report.runs, dataset, label, chosen)
        known = difference.low is not None and difference.high is not None
        rows.append(
            {
                "Method": style.pretty(label),
                f"Minus {style.pretty(chosen)} (points)": _signed(difference.mean),
                "95 % interval": f"{_signed(difference.low)} to {_signed(difference.high)}" if known else "–",
                "Seeds": difference.n,
                "Result": _verdict(difference),
            }
        )
    return pd.DataFrame(rows)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+z.2f}".replace("-", "−")


def _verdict(difference: stats.Interval) -> str:
    if difference.low is None or difference.high is None:
        return "too few seeds"
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else "unresolved"


def times_table(times: pd.DataFrame) -> pd.DataFrame:
    """Table per data set and method: number of runs, medians of seconds and of training images per second."""
    rows = []
    for (dataset, method), group in times.groupby(["dataset", "method"], sort=False):
        row = {"Data set": dataset, "Method": method, "Runs": len(group)}
        for name, column in (
            ("Training", "train_seconds"),
            ("Evaluation", "eval_seconds"),
            ("Job", "total_seconds"),
        ):
            row[f"{name} (s)"] = f"{group[column].median():.1f}"
        rows.append({**row, "Images/s": f"{group['images_per_second'].median():,.0f}"})
    return pd.DataFrame(rows)


def diverged_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Table of the diverged runs with the step of their divergence."""
    columns = {
        "dataset": "Data set",
        "label": "Method",
        "seed": "Seed",
        "diverged_at_step": "At step",
        "run": "Run",
    }
    diverged = runs[runs["status"] == "diverged"].astype({"diverged_at_step": "Int64"})
    return diverged[list(columns)].rename(columns=columns)


def provenance_table(times: pd.DataFrame) -> pd.DataFrame:
    """Table of devices, code, commits and package versions, with one row per distinct combination."""
    columns = {
        "device": "Device",
        "host": "Host",
        "code": "Code",
        "git_commit": "Commit",
        "versions": "Versions",
    }
    known = times[list(columns)].fillna("unknown")
    table = known.groupby(list(columns), sort=False).size().rename("Runs").reset_index()
    table["versions"] = [re.sub(r'[{}"]', "", text) for text in table["versions"]]
    return table.rename(columns=columns)


def limits(report: Report) -> "HTML":
    """Sentences on the limits of the conclusions from this campaign."""
    campaign, cells = report.campaign, report.summary.groupby("dataset").size().max()
    finished = report.summary["n"] - report.summary["n_diverged"]
    most = int(finished.max())
    said = [
        f"At most {most} seed{'s' if most != 1 else ''} per cell finished. "
        + ("There is no interval: no difference here can be told from chance." if most < 2 else "")
        + ("Intervals from fewer than five seeds are wide and rely on normality." if 2 <= most < 5 else "")
        + (" From two seeds, one reaches nine standard deviations to either side." if most == 2 else ""),
        "An interval covers initialisation, data order and dither. It does not cover the choice of test "
        "images, data sets or hyperparameters.",
        f"Each difference has its own 95 % interval, without correction for many comparisons: if all "
        f"{cells - 1} differences were zero, about {(cells - 1) / 20:.1f} of them would still look resolved.",
        "“Unresolved” means that the interval contains zero, not that the methods are equal.",
    ]
    if without := table1(report.summary, campaign).without_paper:
        said.append(
            f"The paper gives no number for {', '.join(without)} as configured here: its numbers are not "
            "tested."
        )
    if campaign.tuning is not None:
        said.append(
            f"Tuned methods had {campaign.tuning.trials} trials each, with one seed: other trials may choose "
            "other values and change the order."
        )
    elif not any(isinstance(values.get("lr"), list) for values in campaign.methods.values()):
        said.append("Each method ran with one learning rate; another choice may change the order.")
    elif report.summary["val_mean"].isna().all():
        said.append(
            "No validation data (val: 0): the best of several settings was chosen on the test set, so its "
            "accuracy is too high."
        )
    if (report.runs["status"] == "diverged").any():
        said.append(
            "Means are over the seeds that finished, which favours a method of which some seeds diverged."
        )
    return _html("<ul>" + "".join(f"<li>{markup.escape(line.strip())}</li>" for line in said) + "</ul>")


def table_one(report: Report) -> "Markdown":
    """Table I as Markdown."""
    from IPython.display import Markdown

    return Markdown(to_markdown(table1(report.summary, report.campaign, report.times)))


def show(frame: pd.DataFrame, empty: str = "None.") -> "HTML":
    """Table as plain HTML, or the sentence `empty` if it has no rows."""
    if frame.empty:
        return _html(f"<p>{markup.escape(empty)}</p>")
    return _html(frame.to_html(index=False, border=0, na_rep="–"))


def pictures(report: Report, names: str | Sequence[str]) -> "HTML":
    """Embed figures by their names, given as a list or its JSON text."""
    chosen = json.loads(names) if isinstance(names, str) else names
    found = {name: (report.folder / "figures" / f"{name}.png").read_bytes() for name in chosen}
    parts = [_picture(png, name, wide=_inches(png) > 1.5 * style.WIDTH) for name, png in found.items()]
    return _html("".join(parts) or "<p>The campaign draws no figure.</p>")


def picture(figure: "Figure", name: str) -> "HTML":
    """Embed a figure that was drawn in the notebook, as wide as the page if it is wider than one column."""
    out = io.BytesIO()
    with style.context():
        figure.savefig(out, format="png", dpi=style.DPI, bbox_inches="tight", metadata={"Software": None})
    return _html(_picture(out.getvalue(), name, wide=figure.get_figwidth() > style.WIDTH))


def _inches(png: bytes) -> float:
    """Width of a figure that `style.save` wrote. The file's first chunk has it, in pixels."""
    return int.from_bytes(png[16:20], "big") / style.DPI


def _picture(png: bytes, name: str, *, wide: bool = False) -> str:
    data, text = base64.b64encode(png).decode(), markup.escape(name, quote=True)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    opening = '<figure class="wide">' if wide else "<figure>"
    return f"{opening}{image}<figcaption>{text}</figcaption></figure>"


def _html(text: str) -> "HTML":
    from IPython.display import HTML

    return HTML(text)
