"""One suite for every place of outputs: a folder, a folder of a container on Azurite, and the stand-in in memory."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob import BlobClient, ContainerClient

from shared.cloud.publishing import BlobPlace
from shared.errors import Stop, TryLater
from shared.place import Place
from shared.prepare.folder import FolderPlace
from tests.contract.wire import ByWire, Wire, lost
from tests.places import MemoryPlace

BLOCK = 1024  # bytes; so that a test's file has several blocks
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

    def worker(self, folder: str = "out") -> MemoryPlace:
        return MemoryPlace(self.store, folder, "out")

    def faulty(self, number: int, how: str) -> tuple[MemoryPlace, Callable[[], bool]]:
        calls = itertools.count()
        hit: list[int] = []

        def called(effect: Callable[[], Any]) -> Any:
            now = next(calls)
            result = None if now == number and how == "before" else effect()
            if now == number:
                hit.append(now)
                raise TryLater("planted")
            return result

        return MemoryPlace(self.store, "out", "out", called=called), lambda: bool(hit)

    def seen(self) -> dict[str, bytes]:
        return {path.removeprefix("out/"): str(body).encode() if isinstance(body, dict) else body for path, body in self.store.items()}


class InContainer:
    def __init__(self, made: ContainerClient, by_wire: ByWire) -> None:
        self.made = made
        self.by_wire = by_wire
        self.wire = Wire()  # of the last worker

    def worker(self, folder: str = "out", **settings: int) -> BlobPlace:
        self.wire = Wire()
        return BlobPlace(self.by_wire(self.made, self.wire), folder, "out", block_bytes=BLOCK, **settings)

    def faulty(self, number: int, how: str) -> tuple[BlobPlace, Callable[[], bool]]:
        place, wire = self.worker(), self.wire
        wire.fail_at(number, how)
        return place, lambda: wire.requests > number

    def seen(self) -> dict[str, bytes]:
        return {path.removeprefix("out/"): self.made.download_blob(path).readall() for path in self.made.list_blob_names()}


LIGHT = [pytest.param(name, marks=pytest.mark.light) for name in ("folder", "memory")]


@pytest.fixture(params=[*LIGHT, "container"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Somewhere:
    if request.param == "container":
        somewhere: Somewhere = request.getfixturevalue("in_container")
        return somewhere
    return InFolder(tmp_path / "out") if request.param == "folder" else InMemory()


@pytest.fixture
def in_container(new_container: Callable[[str], ContainerClient], by_wire: ByWire) -> InContainer:
    return InContainer(new_container("prepared"), by_wire)


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.light), "container"])
def shared_place(request: pytest.FixtureRequest) -> InMemory | InContainer:
    """A place that workers on different machines write to."""
    if request.param == "memory":
        return InMemory()
    made: InContainer = request.getfixturevalue("in_container")
    return made


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
        block = chance.randbytes(chance.choice([0, 1, 1000, 9000]))
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
def test_opening_a_folder_again_and_again_disturbs_nobody_who_writes_into_it(tmp_path: Path) -> None:
    """Goal: a sweep that comes between the opening and the locking of a part costs nothing. Method: many of both at once."""
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            FolderPlace(tmp_path)

    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep)
        try:
            for number in range(300):
                written(FolderPlace(tmp_path), "train.jsonl", str(number).encode())
        finally:
            stop.set()
        sweeping.result(10)

    assert (tmp_path / "train.jsonl").read_bytes() == b"299"
    assert parts(tmp_path) == []


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
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"{}", b'{"content_sha256": "x", "files": [1]}', b"\xff", b"[" * 100_000),
        b'{"content_sha256": "%s", "files": {".": {"sha256": "x"}}}' % CONTENT.encode(),
    ],
)
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


@pytest.mark.parametrize("other", [b"one more", b"two"], ids=["another size", "the same size"])
def test_another_content_at_the_same_place_stops_and_the_first_one_stays(shared_place: InMemory | InContainer, other: bytes) -> None:
    written(shared_place.worker(), "train.jsonl", b"one")
    late = shared_place.worker().stage("train.jsonl")
    late.write(other)

    with pytest.raises(Stop, match=r"train\.jsonl"):
        late.commit(sha256(other))
    late.abandon()
    assert shared_place.seen() == {"train.jsonl": b"one"}


def test_workers_with_folders_of_their_own_share_one_manifest(shared_place: InMemory | InContainer) -> None:
    """Two uploads of the same bytes: the second is told where the files of the first lie."""
    first = prepared(shared_place.worker("out/first"))

    assert first["folder"] == "out/first"
    assert prepared(shared_place.worker("out/second")) == first
    assert len(manifests(shared_place)) == 1


def test_contents_whose_hashes_begin_alike_are_not_taken_for_each_other(shared_place: InMemory | InContainer) -> None:
    prepared(shared_place.worker())
    alike = CONTENT[:16] + "0" * 48

    with pytest.raises(Stop):
        shared_place.worker().published(alike)
    with pytest.raises(Stop):
        shared_place.worker().publish(alike, {})


@pytest.mark.parametrize("how", ["before", "after"])
def test_whatever_call_is_lost_the_next_worker_publishes_the_dataset_once(shared_place: InMemory | InContainer, how: str) -> None:
    """Goal: no single lost request or reply leaves a manifest without its files. Method: lose each one in turn, then work again."""
    for number in itertools.count():
        empty(shared_place)
        place, hit = shared_place.faulty(number, how)
        staged = []
        try:
            staged = [place.stage(name) for name in FILES]
            for file, body in zip(staged, FILES.values(), strict=True):
                file.write(body)
            for file, body in zip(staged, FILES.values(), strict=True):
                file.commit(sha256(body))
            place.publish(CONTENT, manifest())
        except TryLater:
            for file in staged:
                file.abandon()
            assert not manifests(shared_place) or set(FILES) <= set(shared_place.seen())
        assert shared_place.worker().published(CONTENT) or prepared(shared_place.worker())
        assert {path: body for path, body in shared_place.seen().items() if path in FILES} == FILES
        assert len(manifests(shared_place)) == 1
        if not hit():
            break

    assert number >= 6  # calls of a whole preparation: two files with blocks, three commits, one manifest


def empty(somewhere: InMemory | InContainer) -> None:
    if isinstance(somewhere, InMemory):
        somewhere.store.clear()
    else:
        for path in list(somewhere.made.list_blob_names()):
            somewhere.made.delete_blob(path)


# ---------------------------------------------------------------------------------------------- a container by itself


def publishing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("publish")]


def test_blocks_that_overtake_each_other_lie_in_the_order_of_the_writes(in_container: InContainer) -> None:
    chance = random.Random(3)
    body = chance.randbytes(40 * BLOCK + 7)
    staged = in_container.worker().stage("train.jsonl")
    in_container.wire.before = lambda _: time.sleep(chance.random() / 50)
    for at in range(0, len(body), 700):
        staged.write(body[at : at + 700])
    staged.commit(sha256(body))

    assert in_container.seen() == {"train.jsonl": body}
    assert 1 < in_container.wire.under_way_max <= 4


def test_a_file_of_one_large_write_is_cut_into_blocks(in_container: InContainer) -> None:
    body = random.Random(5).randbytes(3 * BLOCK + 1)
    written(in_container.worker(), "train.jsonl", body)

    assert in_container.seen() == {"train.jsonl": body}
    assert in_container.wire.requests == 4 + 1


def test_equal_blocks_of_a_file_are_all_there(in_container: InContainer) -> None:
    body = b"x" * (5 * BLOCK)
    written(in_container.worker(), "train.jsonl", body)

    assert in_container.seen() == {"train.jsonl": body}


def test_while_storage_hangs_no_more_than_a_few_blocks_are_taken(in_container: InContainer) -> None:
    """The writer is held up; so however large the upload, memory stays small."""
    place = in_container.worker(uploads_max=2)
    hang = threading.Event()
    in_container.wire.before = lambda _: _waited(hang)
    taken: list[int] = []

    def write() -> None:
        staged = place.stage("train.jsonl")
        for number in range(20):
            staged.write(bytes([number]) * BLOCK)
            taken.append(number)
        staged.commit("0" * 64)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while in_container.wire.under_way < 2:
            time.sleep(0.001)
        time.sleep(0.05)  # enough for a writer that is not held up to take all the twenty
        held_at = len(taken)
        hang.set()
        writing.result(10)

    assert held_at == 2
    assert in_container.seen() == {"train.jsonl": b"".join(bytes([number]) * BLOCK for number in range(20))}


def _waited(event: threading.Event) -> None:
    assert event.wait(10)


@pytest.mark.parametrize("end", ["committed", "abandoned", "failed"])
def test_no_thread_is_left_when_the_files_are_done(in_container: InContainer, end: str) -> None:
    place = in_container.worker()
    one, two = place.stage("train.jsonl"), place.stage("test.jsonl")
    if end == "failed":
        in_container.wire.fail_at(2, "before")
    try:
        for file in (one, two):
            file.write(b"x" * 3 * BLOCK)
        if end != "abandoned":
            one.commit("0" * 64)
            two.commit("0" * 64)
    except TryLater:
        assert end == "failed"
    one.abandon()
    two.abandon()

    assert publishing_threads() == []
    with pytest.raises(ValueError, match="train"):
        one.write(b"more")


def test_a_block_that_was_lost_is_found_out_by_the_commit_however_often_it_is_asked(in_container: InContainer) -> None:
    staged = in_container.worker().stage("train.jsonl")
    in_container.wire.fail_at(1, "before")
    with contextlib.suppress(TryLater):  # it may be known this early
        for _ in range(3):
            staged.write(b"x" * BLOCK)

    for _ in range(2):
        with pytest.raises(TryLater):
            staged.commit("0" * 64)
    staged.abandon()
    assert in_container.seen() == {}


def test_a_commit_whose_reply_was_lost_is_found_to_have_happened(in_container: InContainer) -> None:
    staged = in_container.worker().stage("train.jsonl")
    staged.write(b"x" * 2 * BLOCK)
    in_container.wire.after = lambda request: lose_commits(request, "after")
    staged.commit("0" * 64)

    assert in_container.seen() == {"train.jsonl": b"x" * 2 * BLOCK}


def test_a_commit_that_did_not_arrive_may_be_tried_later(in_container: InContainer) -> None:
    staged = in_container.worker().stage("train.jsonl")
    staged.write(b"x")
    in_container.wire.before = lambda request: lose_commits(request, "before")
    with pytest.raises(TryLater):
        staged.commit("0" * 64)
    staged.abandon()

    assert in_container.seen() == {}


def lose_commits(request: HttpRequest, how: str) -> None:
    if "comp=blocklist" in request.url:
        raise lost(how)


@pytest.mark.parametrize("how", ["overtaken", "deleted again"])
def test_blocks_that_went_with_the_commit_of_another_worker(in_container: InContainer, how: str) -> None:
    """A commit throws away what others staged. With the file there it is a success, with the file gone the work is done again."""
    one, two = in_container.worker().stage("train.jsonl"), in_container.worker().stage("train.jsonl")
    for staged in (one, two):
        staged.write(b"same" * BLOCK)
        staged._look(wait=True)
    one.commit("0" * 64)
    if how == "deleted again":
        in_container.made.delete_blob("out/train.jsonl")

    if how == "overtaken":
        two.commit("0" * 64)
        assert in_container.seen() == {"train.jsonl": b"same" * BLOCK}
    else:
        with pytest.raises(TryLater):
            two.commit("0" * 64)
        two.abandon()


def test_what_a_dead_worker_staged_is_never_part_of_a_later_file(in_container: InContainer) -> None:
    blob: BlobClient = in_container.made.get_blob_client("out/train.jsonl")
    dead = in_container.worker().stage("train.jsonl")
    dead.write(b"old" * BLOCK)
    dead._look(wait=True)
    assert len(blob.get_block_list("uncommitted")[1]) == 3
    written(in_container.worker(), "train.jsonl", b"new" * BLOCK)

    assert in_container.seen() == {"train.jsonl": b"new" * BLOCK}
    assert blob.get_block_list("uncommitted")[1] == []
    dead.abandon()


def test_a_commit_takes_none_of_the_blocks_of_another_worker_at_the_same_name(in_container: InContainer) -> None:
    """Ids that only count would let the second worker's blocks replace those of the first."""
    one, two = in_container.worker().stage("train.jsonl"), in_container.worker().stage("train.jsonl")
    for staged, body in ((one, b"one" * BLOCK), (two, b"two" * BLOCK)):
        staged.write(body)
        staged._look(wait=True)
    one.commit("0" * 64)
    two.abandon()

    assert in_container.seen() == {"train.jsonl": b"one" * BLOCK}


def test_a_file_that_somebody_put_there_by_hand_is_not_taken_for_ours(in_container: InContainer) -> None:
    in_container.made.upload_blob("out/train.jsonl", b"x")

    with pytest.raises(Stop):
        written(in_container.worker(), "train.jsonl", b"x")


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b"9" * 5_000, b"\xff"], ids=["list", "deep", "long", "no UTF-8"])
def test_a_blob_at_the_address_of_a_manifest_that_is_none_stops(in_container: InContainer, content: bytes) -> None:
    in_container.made.upload_blob(f"out/{CONTENT[:16]}/manifest.json", content)

    with pytest.raises(Stop, match="something else"):
        in_container.worker().published(CONTENT)


def test_files_say_what_they_are(in_container: InContainer) -> None:
    place = in_container.worker()
    prepared(place)
    place.put("report.html", b"<p>", "text/html; charset=utf-8")
    types = {name: in_container.made.get_blob_client(f"out/{name}").get_blob_properties() for name in ("report.html", "train.jsonl")}

    assert types["report.html"].content_settings.content_type == "text/html; charset=utf-8"
    assert types["train.jsonl"].metadata == {"sha256": sha256(FILES["train.jsonl"]), "size": str(len(FILES["train.jsonl"]))}
