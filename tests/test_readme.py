"""The README's examples, messages and links."""

import re
import sys
import types
from typing import Any

import pytest
import torch

from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.identity import parse_run
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.config.schema import page_text
from sign_ablate.optim import registry
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_example_of_adding_an_optimizer(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"<!-- example: add an optimizer -->\n```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.setitem(registry.METHODS, "normalized-sgd", None)  # type: ignore[arg-type]  # for its undoing
    for path, text in re.findall(r"# \d\. (\S+)\.py: .*\n((?:(?!# \d\.).*\n)*)", code):
        module = types.ModuleType(path.replace("/", "."))
        if module.__name__ == registry.__name__:  # a part of a module that there is, with its names
            vars(module).update(vars(registry))
        else:
            monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(text, f"README.md: {path}", "exec"), vars(module))
    tiny["methods"]["new"] = {"optimizer": "normalized-sgd", "lr": 0.5}
    run = next(run for run in expand(parse_campaign(tiny)) if run.cell.method == "new")
    p = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    options = parse_run(run.spec).method.model_dump(exclude={"optimizer"})
    optimizer = registry.build("normalized-sgd", options, [p], seed=0, steps_per_epoch=1)
    p.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert p.tolist() == pytest.approx([0.7, 0.6])
    with pytest.raises(ValueError, match=r"^eps must be above 0, got -1\.0$"):
        type(optimizer)([p], eps=-1.0)
    tiny["methods"]["new"]["eps"] = -1.0
    with pytest.raises(ConfigError, match=r"methods\.new\.eps = -1\.0: must be greater than 0"):
        parse_campaign(tiny)
    reference = page_text()
    assert "| `eps` |  | number > 0 | `1e-12` | Added to the norm. |" in reference
    assert "| `split_seed` | integer ≥ 0, < 4294967296 |" in reference


@pytest.mark.parametrize(
    "change",
    [{"lr": -0.1}, {"alpha": 0.1}],
)
def test_shown_messages_are_real(change: dict[str, Any], tiny: dict[str, Any]) -> None:
    tiny["methods"]["sgd"] |= change
    with pytest.raises(ConfigError) as caught:
        parse_campaign(tiny)
    start = str(caught.value).split(" sgd takes")[0]
    assert f"config.yaml: {start}" in README


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_links_into_a_page_name_one_of_its_headings() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*/*.md")]:
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
            target = page.parent / link if link else page
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{page.name}: {link}#{anchor}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
