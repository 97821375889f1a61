"""Data are identified by their content: the files that are made again after a change of images."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from tests.data.helpers import encode
from tests.workflow.conftest import Repository, make

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

PATH = "my 'own' images"
CONFIG: dict[str, Any] = {
    "campaign": "mine",
    "seeds": [0],
    "datasets": {
        "synthetic": {"source": "synthetic", "train_images": 64, "test_images": 32, "channels": 1},
        "mine": {"source": "folder", "path": PATH, "image_size": 8, "classes": 2},
    },
    "train": {"model": "small", "epochs": 1, "batch_size": 4},
    "methods": {name: TINY["methods"][name] for name in ("sgd", "adam")},
    "execution": {"device": "cpu"},
}
TABLES = {"aggregate": 1, "ledger": 1, "table": 1, "report_html": 1}
SGD = "results/runs/folder.sgd.*/metrics.parquet"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = make(tmp_path_factory.mktemp("mine"), CONFIG)
    for part in ("train", "test"):
        for value, name in enumerate(("cat", "dog")):
            (repository.folder / PATH / part / name).mkdir(parents=True)
            for number in range(4):
                image = encode(8, "L", 100 * value + number)
                (repository.folder / PATH / part / name / f"{number}.png").write_bytes(image)
    repository.call()
    return repository


@pytest.fixture
def copy(done: Repository, tmp_path: Path) -> Repository:
    return done.copy(tmp_path / "copy")


def configure(repository: Repository, **options: Any) -> None:
    mine = {**CONFIG["datasets"]["mine"], **options}
    repository.configure({**CONFIG, "datasets": {**CONFIG["datasets"], "mine": mine}})


def data_file(repository: Repository) -> Path:
    (found,) = repository.folder.glob("results/data/folder.*.npz")
    return found


def run(repository: Repository) -> Path:
    (found,) = repository.folder.glob(SGD)
    return found


def change(repository: Repository) -> None:
    (repository.folder / PATH / "train/cat/0.png").write_bytes(encode(8, "L", 55))


def test_changed_image_is_new_data_and_new_runs(copy: Repository) -> None:
    assert copy.jobs() == {}
    before = (copy.folder / PATH / "train/cat/0.png").read_bytes()
    change(copy)
    assert copy.jobs() == {"prepare": 1, "train": 2, **TABLES}
    (copy.folder / PATH / "train/cat/0.png").write_bytes(before)
    assert copy.jobs() == {}


def test_moved_folder_and_trailing_slash_are_nothing_new(copy: Repository) -> None:
    configure(copy, path=PATH + "/")
    assert copy.jobs() == {}
    (copy.folder / PATH).rename(copy.folder / "elsewhere")
    configure(copy, path="elsewhere")
    assert copy.jobs() == {}
    data_file(copy).unlink()
    assert copy.jobs() == {}


def test_missing_folder_is_told_before_any_job(copy: Repository) -> None:
    configure(copy, split_seed=1)
    shutil.rmtree(copy.folder / "results/runs")
    (copy.folder / PATH).rename(copy.folder / "away")
    done = copy.call(check=False)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert f": {PATH}: no such folder; a folder source holds train/<class>/ and test/<class>/\n" in output
    assert "Traceback" not in output
    assert not list(copy.folder.glob("results/runs/*"))  # those on synthetic images neither
    (copy.folder / "away").rename(copy.folder / PATH)
    copy.call("results/mine/summary.parquet")  # no lock was left
    assert len(list(copy.folder.glob("results/runs/*/metrics.parquet"))) == 4


def test_missing_folder_blocks_nothing_that_needs_no_image(copy: Repository) -> None:
    (copy.folder / PATH).rename(copy.folder / "away")
    done = copy.call()
    assert "Nothing to be done" in done.stdout + done.stderr
    assert f"sign-ablate: warning: {PATH}: no such folder; its last known digest is used" in done.stderr
    (copy.folder / "results/mine/summary.parquet").unlink()
    assert copy.jobs() == TABLES
    run(copy).unlink()
    assert copy.jobs() == {"train": 1, **TABLES}  # its data file is there
    data_file(copy).unlink()
    assert copy.jobs("partial") == {"partial": 1, **TABLES}
    configure(copy, path="never/seen")
    done = copy.call(check=False)
    assert done.returncode == 1
    assert "datasets.mine: never/seen: no such folder; a folder source holds" in done.stdout + done.stderr


def test_missing_shards_are_told_before_any_job(copy: Repository) -> None:
    cifar = {"source": "cifar10", "path": "none"}
    copy.configure({**CONFIG, "datasets": {**CONFIG["datasets"], "cifar": cifar}})
    done = copy.call("--dry-run", check=False)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert ": none: no such folder; `path:` is the folder that holds train-*.parquet\n" in output
    assert "Traceback" not in output


def test_run_that_is_done_needs_no_data_unless_it_is_forced(copy: Repository) -> None:
    data_file(copy).unlink()
    name = str(run(copy).relative_to(copy.folder))
    assert copy.jobs() == copy.jobs(name) == {}
    assert copy.jobs("--forcerun", "train") == {"prepare": 1, "train": 4, **TABLES}
    assert copy.jobs("--forcerun", name) == {"prepare": 1, "train": 1, **TABLES}
    run(copy).unlink()
    assert copy.jobs(name) == {"prepare": 1, "train": 1}
    copy.call(name)
    assert copy.jobs() == {}  # the other run of the same data stays


def test_runs_of_two_states_of_a_folder_stand_side_by_side(copy: Repository) -> None:
    before = run(copy)
    change(copy)
    copy.call("results/mine/summary.parquet")
    both = set(copy.folder.glob(SGD))
    assert len(both) == 2
    assert before in both


def test_images_that_change_while_snakemake_runs(copy: Repository) -> None:
    """The change happens between the start of Snakemake and of the job, here in a pre-command."""
    data_file(copy).unlink()
    run(copy).unlink()
    prepare = copy.folder / "workflow/rules/prepare.smk"
    text = prepare.read_text()
    image = "my*images/train/cat/0.png"
    prepare.write_text(
        text.replace(
            '"{params.command}',
            f'"cp my*images/train/dog/0.png {image}; {{params.command}}',
        )
    )
    done = copy.call(check=False)
    assert done.returncode == 1
    message = f"{PATH}: changed while it was in use; run snakemake again, which trains on"
    assert message in done.stdout + done.stderr
    assert not list(copy.folder.glob("results/data/folder.*.npz"))
    prepare.write_text(text)
    assert copy.jobs() == {"prepare": 1, "train": 2, **TABLES}
