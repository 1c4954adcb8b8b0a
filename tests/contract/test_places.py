"""One suite for every place of outputs: a folder, and the stand-in in memory."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from shared.errors import Stop
from shared.place import Place
from shared.prepare.folder import FolderPlace
from tests.places import MemoryPlace

CONTENT = "ab" * 32  # sha256 of a dataset
OTHER_CONTENT = "cd" * 32
FILES = {"train.jsonl": b"three rows\n" * 3, "validation.jsonl": b"one row\n", "test.jsonl": b""}
BODY = b'{"rows": 4}'


class Somewhere(Protocol):
    """A place as its workers and its readers see it."""

    def worker(self) -> Place:
        """Return the place as another worker would open it."""
        ...

    def seen(self) -> dict[str, bytes]:
        """Return what a reader finds: path -> bytes, manifests too."""
        ...


class InFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def worker(self) -> FolderPlace:
        return FolderPlace(self.folder)

    def seen(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if not path.name.startswith(".")}


class InMemory:
    def __init__(self) -> None:
        self.store: dict[str, Any] = {}

    def worker(self) -> MemoryPlace:
        return MemoryPlace(self.store, "out", "out")

    def seen(self) -> dict[str, bytes]:
        return {path.removeprefix("out/"): str(body).encode() if isinstance(body, dict) else body for path, body in self.store.items()}


@pytest.fixture(params=[pytest.param("folder", marks=pytest.mark.light), pytest.param("memory", marks=pytest.mark.light)])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Somewhere:
    return InFolder(tmp_path / "out") if request.param == "folder" else InMemory()


@pytest.fixture
def place(somewhere: Somewhere) -> Place:
    return somewhere.worker()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def written(place: Place, name: str, body: bytes) -> None:
    staged = place.stage(name)
    staged.write(body)
    staged.commit(sha256(body))


def manifests(somewhere: Somewhere) -> list[str]:
    return [path for path in somewhere.seen() if path.endswith("manifest.json")]


def manifest(**more: object) -> dict[str, Any]:
    return {"files": {name: {"sha256": sha256(body), "bytes": len(body)} for name, body in FILES.items()}, **more}


def prepared(place: Place, **more: object) -> dict[str, Any]:
    """Do what a preparation does, from the first block to the manifest."""
    staged = {name: place.stage(name) for name in FILES}
    for name, file in staged.items():
        file.write(FILES[name])
    for name, file in staged.items():
        file.commit(sha256(FILES[name]))
    place.put("report.json", BODY, "application/json")
    return place.publish(CONTENT, manifest(**more))


# ----------------------------------------------------------------------------------------------------------- one file


def test_a_file_is_seen_when_it_is_committed_and_not_before(somewhere: Somewhere, place: Place) -> None:
    staged = place.stage("train.jsonl")
    staged.write(b"one ")
    staged.write(b"two")
    assert somewhere.seen() == {}
    staged.commit(sha256(b"one two"))

    assert somewhere.seen() == {"train.jsonl": b"one two"}


def test_an_abandoned_file_leaves_nothing(somewhere: Somewhere, place: Place) -> None:
    staged = place.stage("train.jsonl")
    staged.write(b"x" * 100)
    staged.abandon()
    staged.abandon()

    assert somewhere.seen() == {}


def test_a_file_that_is_begun_again_has_nothing_of_the_first_attempt(somewhere: Somewhere, place: Place) -> None:
    first = place.stage("train.jsonl")
    first.write(b"old and long")
    first.abandon()
    written(place, "train.jsonl", b"new")

    assert somewhere.seen() == {"train.jsonl": b"new"}


def test_abandoning_after_the_commit_takes_nothing_back(somewhere: Somewhere, place: Place) -> None:
    staged = place.stage("train.jsonl")
    staged.write(b"x")
    staged.commit(sha256(b"x"))
    staged.abandon()

    assert somewhere.seen() == {"train.jsonl": b"x"}


def test_an_empty_file_is_a_file(somewhere: Somewhere, place: Place) -> None:
    place.stage("test.jsonl").commit(sha256(b""))

    assert somewhere.seen() == {"test.jsonl": b""}


def test_writes_of_any_size_keep_their_order(somewhere: Somewhere, place: Place) -> None:
    """Two files at once, so that what is written alternates between them."""
    chance = random.Random(4)
    bodies: dict[str, list[bytes]] = {"train.jsonl": [], "test.jsonl": []}
    staged = {name: place.stage(name) for name in bodies}
    for _ in range(60):
        name = chance.choice(list(bodies))
        block = chance.randbytes(chance.choice([0, 1, 1000, 65_536]))
        bodies[name].append(block)
        staged[name].write(block)
    for name, file in staged.items():
        file.commit(sha256(b"".join(bodies[name])))

    assert somewhere.seen() == {name: b"".join(blocks) for name, blocks in bodies.items()}


def test_a_second_worker_that_commits_the_same_file_changes_nothing(somewhere: Somewhere) -> None:
    one, two = somewhere.worker().stage("train.jsonl"), somewhere.worker().stage("train.jsonl")
    for staged in (one, two):
        staged.write(b"same")
    one.commit(sha256(b"same"))
    two.commit(sha256(b"same"))

    assert somewhere.seen() == {"train.jsonl": b"same"}


def test_a_small_file_is_written_over_an_older_one(somewhere: Somewhere, place: Place) -> None:
    place.put("report.json", b"a longer older one", "application/json")
    place.put("report.json", BODY, "application/json")

    assert somewhere.seen() == {"report.json": BODY}


# ---------------------------------------------------------------------------------------------------------- manifests


def test_a_dataset_exists_once_its_manifest_does(place: Place) -> None:
    assert place.published(CONTENT) is None
    there = prepared(place)

    assert place.published(CONTENT) == there
    assert place.published(OTHER_CONTENT) is None


def test_the_manifest_says_what_it_is_of_and_where_its_files_lie(somewhere: Somewhere, place: Place) -> None:
    there = prepared(place, rules=2)

    assert there == {**manifest(rules=2), "content_sha256": CONTENT, "folder": there["folder"]}
    assert there["folder"]
    assert len(manifests(somewhere)) == 1


def test_whoever_publishes_second_is_given_what_the_first_one_published(somewhere: Somewhere) -> None:
    first = prepared(somewhere.worker(), by="first")

    assert prepared(somewhere.worker(), by="first") == first
    assert somewhere.worker().publish(CONTENT, manifest(by="second")) == first
    assert somewhere.worker().published(CONTENT) == first


def test_two_workers_at_once_publish_once(somewhere: Somewhere) -> None:
    """Both begin each step together; what a reader finds is one whole dataset, and both are told of it."""
    together = threading.Barrier(2)

    def work(_: int) -> dict[str, Any]:
        place = somewhere.worker()
        staged = {name: place.stage(name) for name in FILES}
        for name, file in staged.items():
            file.write(FILES[name])
            together.wait(10)
            file.commit(sha256(FILES[name]))
        together.wait(10)
        return place.publish(CONTENT, manifest())

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(work, range(2))

    assert one == two
    assert {path: body for path, body in somewhere.seen().items() if path in FILES} == FILES
    assert len(manifests(somewhere)) == 1


@pytest.mark.parametrize("commits", range(len(FILES) + 1))
def test_a_worker_that_dies_between_two_commits_leaves_no_manifest_and_the_next_one_finishes(somewhere: Somewhere, commits: int) -> None:
    place = somewhere.worker()
    staged = {name: place.stage(name) for name in FILES}
    for name, file in staged.items():
        file.write(FILES[name])
    for name in list(FILES)[:commits]:
        staged[name].commit(sha256(FILES[name]))
    for file in staged.values():
        file.abandon()  # so that this process keeps no file open; what a killed one leaves stands below
    assert sorted(somewhere.seen()) == sorted(list(FILES)[:commits])
    assert somewhere.worker().published(CONTENT) is None

    prepared(somewhere.worker())
    assert {path: body for path, body in somewhere.seen().items() if path in FILES} == FILES


# ------------------------------------------------------------------------------------------------- a folder by itself

KILLED = """
    import hashlib, os, sys
    from pathlib import Path
    from shared.prepare.folder import FolderPlace
    place = FolderPlace(Path(sys.argv[1]))
    for number, name in enumerate(["train.jsonl", "test.jsonl"]):
        staged = place.stage(name)
        staged.write(b"half a file")
        if number < int(sys.argv[2]):
            staged.commit(hashlib.sha256(b"half a file").hexdigest())
    os._exit(9)
"""


def killed_in(folder: Path, *, commits: int) -> None:
    """Let a process of its own write into the folder and die with its files open."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(commits)], cwd=Path.cwd(), check=False)
    assert done.returncode == 9


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


@pytest.mark.light
def test_what_a_killed_process_left_is_gone_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    killed_in(tmp_path, commits=1)
    assert len(parts(tmp_path)) == 1
    FolderPlace(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


@pytest.mark.light
def test_what_another_one_is_writing_stays_when_the_folder_is_opened(tmp_path: Path) -> None:
    staged = FolderPlace(tmp_path).stage("train.jsonl")
    staged.write(b"x")
    FolderPlace(tmp_path)
    staged.commit(sha256(b"x"))

    assert (tmp_path / "train.jsonl").read_bytes() == b"x"


@pytest.mark.light
def test_hidden_files_of_others_are_not_swept_away(tmp_path: Path) -> None:
    for name in (".film.part", "film.1-1.part", ".gitignore"):
        (tmp_path / name).touch()
    FolderPlace(tmp_path)

    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.light
def test_a_process_that_dies_over_an_older_dataset_takes_its_manifest_along(tmp_path: Path) -> None:
    """Else the folder would hold a manifest beside files that it does not describe."""
    prepared(FolderPlace(tmp_path))
    killed_in(tmp_path, commits=0)
    assert FolderPlace(tmp_path).published(CONTENT)
    killed_in(tmp_path, commits=1)

    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.light
@pytest.mark.parametrize("how", ["edited", "removed"])
def test_a_folder_whose_files_are_no_longer_what_the_manifest_says_holds_no_dataset(tmp_path: Path, how: str) -> None:
    prepared(FolderPlace(tmp_path))
    file = tmp_path / "train.jsonl"
    file.unlink() if how == "removed" else file.write_bytes(b"four rows\n" * 3)

    assert FolderPlace(tmp_path).published(CONTENT) is None


@pytest.mark.light
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"content_sha256": "x", "files": [1]}', b"\xff"])
def test_a_manifest_that_is_none_of_ours_is_no_dataset(tmp_path: Path, content: bytes) -> None:
    place = FolderPlace(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)

    assert place.published(CONTENT) is None


@pytest.mark.light
@pytest.mark.parametrize("how", ["other content", "same content", "removed"])
def test_a_manifest_is_not_written_over_files_of_somebody_else(tmp_path: Path, how: str) -> None:
    place = FolderPlace(tmp_path)
    written(place, "train.jsonl", b"ours")
    if how == "removed":
        (tmp_path / "train.jsonl").unlink()
    else:
        written(FolderPlace(tmp_path), "train.jsonl", b"ours" if how == "same content" else b"else")

    if how == "same content":
        assert place.publish(CONTENT, {})
    else:
        with pytest.raises(Stop, match=r"train\.jsonl"):
            place.publish(CONTENT, {})


@pytest.mark.light
def test_the_files_of_a_folder_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        written(FolderPlace(tmp_path), "train.jsonl", b"x")
    finally:
        os.umask(mask)

    assert (tmp_path / "train.jsonl").stat().st_mode & 0o777 == 0o644


# ----------------------------------------------------------------------------------------------- places that are shared


@pytest.mark.light
def test_another_content_at_the_same_place_stops() -> None:
    somewhere = InMemory()
    written(somewhere.worker(), "train.jsonl", b"one")

    with pytest.raises(Stop, match="train"):
        written(somewhere.worker(), "train.jsonl", b"two")
    assert somewhere.seen() == {"train.jsonl": b"one"}
