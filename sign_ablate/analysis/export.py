"""Export of an executed notebook as one self-contained HTML file."""

import re
from pathlib import Path

from sign_ablate.store.run_files import write_text

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 54rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1, h2, h3 {{ line-height: 1.2; margin: 2rem 0 0.6rem; }}
h1 {{ margin-top: 0; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.88rem; margin: 0.6rem 0; }}
th, td {{ padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }}
th {{ border-bottom: 2px solid #888; }}
figure {{ display: inline-block; width: min(100%, 26rem); margin: 0.5rem 0.4rem; vertical-align: top; }}
figure.wide {{ width: 100%; }}
figure img {{ width: 100%; }}
figcaption {{ font-size: 0.85rem; color: #555; text-align: center; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def export(notebook: Path, html: Path) -> None:
    """Write the outputs of an executed notebook as HTML that loads no external scripts, styles or fonts.

    nbconvert's own pages load scripts from a CDN, so only the cells are converted with it. Code is left out.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_filename(str(notebook))
    first = re.search(r"<h1[^>]*>(.*?)</h1>", body, re.DOTALL)
    title = re.sub(r"<[^>]+>", "", first.group(1)) if first else notebook.stem
    html.parent.mkdir(parents=True, exist_ok=True)
    write_text(html, _PAGE.format(title=f"sign-ablate: {title}", body=body))
