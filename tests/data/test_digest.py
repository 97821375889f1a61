"""Folders are identified by their content, which is read again only if it may have changed."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sign_ablate.campaign.grid import Run, expand
from sign_ablate.campaign.identity import campaign_spec, identity, parse_dataset, parse_run
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.config.data import ImageFolder
from sign_ablate.data import digest
from sign_ablate.data.common import DataError
from sign_ablate.data.digest import identified
from tests.data.helpers import encode


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the files whose content is read. Digests of new files are cached as well."""
    found: list[Path] = []
    hash_of = digest._hash
    monkeypatch.setattr(digest, "_hash", lambda path: found.append(path) or hash_of(path))
    monkeypatch.setattr(digest, "SETTLED_NS", 0)
    return found


def of(path: Any = "images", **options: Any) -> ImageFolder:
    return ImageFolder(path=str(path), **{"image_size": 6, "classes": 2, **options})


def content(path: Any = "images") -> str:
    found = identified(of(path)).content
    assert found is not None
    return found


@pytest.fixture
def config(images: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["datasets"] = {"mine": {"source": "folder", "path": "images", "image_size": 6, "classes": 2}}
    return {**tiny, "figures": {}, "methods": {"sgd": tiny["methods"]["sgd"]}, "seeds": [0]}


def run(config: dict[str, Any]) -> Run:
    (found,) = expand(parse_campaign(config))
    return found


def change(path: Path) -> None:
    path.write_bytes(encode(6, value=77))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "pixel": lambda f: change(f / "train/cat/0.png"),
    "test image": lambda f: change(f / "test/cat/0.png"),
    "class": lambda f: (f / "train/cat/0.png").rename(f / "train/dog/a.png"),
    "split": lambda f: (f / "train/cat/0.png").rename(f / "test/cat/a.png"),
    "fewer": lambda f: (f / "train/cat/0.png").unlink(),
    "more": lambda f: (f / "train/cat/a.png").write_bytes(encode(6)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_images_are_new_runs(
    name: str, images: Path, config: dict[str, Any], reads: list[Path]
) -> None:
    before = run(config)
    CHANGES[name](images)
    after = run(config)
    assert before.id != after.id
    assert before.data_id != after.data_id


SAME: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "trailing slash": lambda f, data: data.update(path="images/"),
    "another way": lambda f, data: data.update(path="images/../images"),
    "absolute": lambda f, data: data.update(path=str(f)),
    "moved": lambda f, data: (f.rename("elsewhere"), data.update(path="elsewhere")),
    "copied": lambda f, data: (shutil.copytree(f, "copy"), data.update(path="copy")),
    "link": lambda f, data: (Path("link").symlink_to(f), data.update(path="link")),
    "renamed image": lambda f, data: (f / "train/cat/0.png").rename(f / "train/cat/z.png"),
    "new times": lambda f, data: [os.utime(file, (1, 1)) for file in f.rglob("*.png")],
    "other files": lambda f, data: (f / "train/cat/notes.txt").write_text("mine"),
    "hidden files": lambda f, data: (f / "train/.DS_Store").write_text("mine"),
}


@pytest.mark.parametrize("name", SAME)
def test_same_images_are_the_same_runs(name: str, images: Path, config: dict[str, Any]) -> None:
    before = run(config)
    SAME[name](images, config["datasets"]["mine"])
    after = run(config)
    assert before.id == after.id
    assert before.spec == after.spec
    assert before.data_id == after.data_id


def test_specs_say_what_the_data_are_and_not_where(images: Path, config: dict[str, Any]) -> None:
    campaign = parse_campaign(config)
    (found,) = expand(campaign)
    for text in (found.spec, campaign_spec(campaign)):
        assert content() in text
        assert "images" not in text.replace(content(), "")
    assert parse_run(found.spec) == found.config
    shutil.rmtree(images)
    shutil.rmtree("results")
    assert expand(parse_campaign(json.loads(campaign_spec(campaign))))[0].id == found.id


def test_folder_that_nobody_looked_into_has_no_identity() -> None:
    with pytest.raises(ValueError, match=r"images: its content is not known"):
        of().without_location()


def test_location_comes_back_to_the_spec() -> None:
    spec = of(content="0" * 64, val=2)
    assert parse_dataset(identity(spec.without_location()), json.dumps(spec.location())) == spec


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_well_known_data_are_the_same_from_everywhere(source: str, tiny: dict[str, Any]) -> None:
    ids = set()
    for where in ({}, {"path": "some/folder"}, {"path": "other"}, {"download_dir": "scratch"}):
        tiny |= {"datasets": {"cifar": {"source": source, **where}}, "figures": {}}
        ids.add((expand(parse_campaign(tiny))[0].id, expand(parse_campaign(tiny))[0].data_id))
    assert len(ids) == 1


def test_content_is_read_once(images: Path, reads: list[Path]) -> None:
    first = content()
    assert len(reads) == 12
    assert content() == content("images/") == first
    assert len(reads) == 12
    change(images / "train/cat/0.png")
    assert content() != first
    assert len(reads) == 24


def test_change_with_the_old_size_and_time_is_seen(images: Path, reads: list[Path]) -> None:
    file = images / "train/cat/0.png"
    first, status = content(), file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert content() != first


def test_what_was_just_written_is_read_again(images: Path, reads: list[Path], monkeypatch: Any) -> None:
    monkeypatch.setattr(digest, "SETTLED_NS", 10**12)
    first = content()
    assert content() == first
    assert len(reads) == 24


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"content": "x"}', "\0\0", '{"content": 1, "state": 2}']
)
def test_broken_note_costs_nothing_but_time(text: str, images: Path, reads: list[Path]) -> None:
    first = content()
    (note,) = Path("results/data/digests").iterdir()
    note.write_text(text)
    assert content() == first
    assert len(reads) == 24
    assert content() == first
    assert len(reads) == 24


def test_results_that_cannot_be_written_cost_nothing_but_time(images: Path, reads: list[Path]) -> None:
    Path("results").write_text("a file in the way")
    assert content() == content()
    assert len(reads) == 24


def test_many_writers_leave_one_whole_note(images: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(content() for _ in range(5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert len(set(found)) == 1
    (note,) = Path("results/data/digests").iterdir()
    assert json.loads(note.read_text())["content"] == found[0]


def test_missing_folder_is_what_it_was(images: Path, config: dict[str, Any], capsys: Any) -> None:
    before = run(config)
    capsys.readouterr()
    images.rename("away")
    assert run(config).id == before.id
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sign-ablate: warning: images: no such folder; its last known digest is used (")
    images.mkdir()  # an empty mount point
    assert run(config).id == before.id


def test_missing_folder_that_nobody_has_seen(config: dict[str, Any]) -> None:
    config["datasets"]["mine"]["path"] = "none"
    with pytest.raises(
        ConfigError, match=r"^datasets\.mine: none: no such folder; a folder source holds train/"
    ):
        parse_campaign(config)


def test_content_that_is_given_is_held_to(images: Path, config: dict[str, Any]) -> None:
    data = config["datasets"]["mine"]
    before = run(config)
    data["content"] = content()
    assert run(config).id == before.id
    images.rename("away")
    shutil.rmtree("results")
    assert run(config).id == before.id
    Path("away").rename("images")
    change(images / "train/cat/0.png")
    with pytest.raises(
        ConfigError, match=r"^datasets\.mine: content = '.*': the images in images have the digest"
    ):
        parse_campaign(config)
    data["content"] = "abc"
    with pytest.raises(ConfigError, match=r"^datasets\.mine\.content = 'abc': must match pattern"):
        parse_campaign(config)


def test_files_that_are_no_images_are_counted(images: Path, capsys: Any) -> None:
    for name in ("train/README.md", "train/cat/Thumbs.db", "test/dog/x.png.bak"):
        (images / name).write_text("no image")
    content()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "sign-ablate: warning: images: 3 files have no image suffix and are ignored: "
        "train/README.md, train/cat/Thumbs.db, test/dog/x.png.bak"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, r"^datasets\.mine\.classes = 1: must be greater than or equal to 2$"),
        ({"classes": 5}, r"^datasets\.mine: images/train: 2 class folders, but classes: 5; found cat, dog$"),
        ({"path": ""}, r"^datasets\.mine\.path = '': must have at least 1 character$"),
        ({"path": None}, r"^datasets\.mine: path: required, but missing$"),
    ],
)
def test_bad_options_of_a_folder(change: dict[str, Any], message: str, config: dict[str, Any]) -> None:
    config["datasets"]["mine"] |= change
    with pytest.raises(ConfigError, match=message):
        parse_campaign(config)


def test_broken_folder_stops_before_any_job(images: Path, config: dict[str, Any]) -> None:
    (images / "train/cat/sub").mkdir()
    with pytest.raises(
        ConfigError, match=r"^datasets\.mine: images/train/cat/sub: a folder within a class; move"
    ):
        parse_campaign(config)


def test_large_folder_is_announced(images: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(digest, "LARGE", 100)
    content()
    assert capsys.readouterr().err == "sign-ablate: reading 12 images in images (0.0 GiB) for their digest\n"


def test_prepare_forgets_a_note_that_was_wrong(images: Path, reads: list[Path]) -> None:
    from sign_ablate.data import sources

    first = content()
    (note,) = Path("results/data/digests").iterdir()
    note.write_text(note.read_text().replace(first, "0" * 64))
    with pytest.raises(DataError, match="images: changed while it was in use; run snakemake again"):
        sources.load(identified(of()))
    assert content() == first
