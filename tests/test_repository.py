"""Things that must agree with one another."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from sign_ablate.config.read import read_yaml
from sign_ablate.terminal import generated
from tests.conftest import ROOT
from tests.workflow.conftest import PARTS

#: conda-forge's name → the package index's
CONDA = {"pytorch": "torch", "snakemake-minimal": "snakemake"}
#: not needed to run, and not known to be in conda's channels
ONLY_PIP = {"snakemake-logger-plugin-rich>=0.5.1"}


def test_environment_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["pipeline"]}
    wanted.add(f"python{project['requires-python']}")
    listed = read_yaml(ROOT / "environment.yml")["dependencies"]
    names = {re.split("[><=]", entry)[0]: entry for entry in listed if entry != "pip"}
    assert {
        entry.replace(name, CONDA.get(name, name), 1) for name, entry in names.items()
    } == wanted - ONLY_PIP


def test_image_copies_all_that_the_pipeline_needs() -> None:
    """The image itself is not built here."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert {*PARTS, "config.yaml", "pyproject.toml"} == set(copied)


def test_generated_files_are_up_to_date() -> None:
    assert generated.write(ROOT, check=True) == [], "run: sign-ablate schema"


def test_make_gives_snakemake_a_cache_where_the_home_folder_cannot_be_written(tmp_path: Path) -> None:
    """It would end in a traceback; root can write to any folder, but not into a device."""
    call = ["make", "--silent", "--eval", "show: ; @echo $$XDG_CACHE_HOME", "show"]
    inherited = {key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
    for home, expected in ((tmp_path, ""), ("/dev/null/home", f"{ROOT}/.snakemake/cache")):
        environment = {**inherited, "HOME": str(home)}
        done = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_loading_a_campaign_that_tunes_imports_what_parsing_needs() -> None:
    """Its choices are read on every start. The points of the trials (scipy) are not needed for that."""
    code = (
        "import sys; from sign_ablate.config import load_campaign; "
        "load_campaign(['workflow/presets/c10.yaml']); "
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_planning_imports_no_torch() -> None:
    """The Snakefile does this on every start, and in every cluster job."""
    code = (
        "import sys; from sign_ablate.jobs import device; "
        "from sign_ablate.terminal import plan, show, status; "
        "from sign_ablate.config import load_campaign; from sign_ablate.campaign.grid import expand; "
        "expand(load_campaign(['workflow/presets/all-methods.yaml'])); device.gpu_count(); "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
