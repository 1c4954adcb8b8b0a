"""One suite for the `Datasets` port, over the fake of the stories and over two containers on Azurite."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient, ContainerClient
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from shared import prepare
from shared.cloud.datasets import BlobDatasets
from shared.domain.upload import checked_path
from shared.errors import Rejected, UploadChanged
from shared.ports import Datasets
from shared.reconcile import sets
from tests.contract.wire import ByWire, Wire
from tests.journeys import fakes

PATH = "support-bot/2026-11 ä.jsonl"
ROWS = b'{"messages":[]}\n' * 500
SMALL_RANGE = 1024  # bytes; so that a test's upload is read in several requests


class Owner(Protocol):
    """Whoever uploads: not through the port, which cannot."""

    datasets: Datasets

    def upload(self, path: str, content: bytes) -> None: ...

    def delete(self, path: str) -> None: ...


class FakeOwner:
    def __init__(self) -> None:
        self.world = fakes.World()
        self.datasets: Datasets = fakes.FakeDatasets(self.world)

    def upload(self, path: str, content: bytes) -> None:
        self.world.upload(path, content)

    def delete(self, path: str) -> None:
        del self.world.blobs[path]


class BlobOwner:
    def __init__(self, new_container: Callable[[str], ContainerClient]) -> None:
        self.uploads, self.prepared = new_container("datasets"), new_container("prepared")
        self.datasets: Datasets = BlobDatasets(self.uploads, self.prepared, datastore="tuneloop_prepared", ahead=2, range_bytes=SMALL_RANGE)

    def upload(self, path: str, content: bytes) -> None:
        self.uploads.upload_blob(path, content, overwrite=True)

    def delete(self, path: str) -> None:
        self.uploads.delete_blob(path)


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), "blobs"])
def owner(request: pytest.FixtureRequest) -> Owner:
    if request.param == "fake":
        return FakeOwner()
    return BlobOwner(request.getfixturevalue("new_container"))


@pytest.fixture
def datasets(owner: Owner) -> Datasets:
    return owner.datasets


# ----------------------------------------------------------------------------------------------------------------- head


def test_an_upload_is_seen_with_its_exact_path_size_and_version(owner: Owner) -> None:
    owner.upload(PATH, ROWS)
    upload = owner.datasets.head(PATH)

    assert upload is not None
    assert (upload.account, upload.container, upload.path, upload.size) == (
        owner.datasets.account, owner.datasets.container, PATH, len(ROWS),
    )  # fmt: skip
    assert upload.etag
    assert '"' not in upload.etag
    assert upload.last_modified.utcoffset() is not None


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_what_is_missing_or_empty_is_no_upload(owner: Owner, content: bytes | None) -> None:
    if content is not None:
        owner.upload(PATH, content)

    assert owner.datasets.head(PATH) is None
    assert list(owner.datasets.uploads()) == []


def test_the_listing_and_the_look_agree_about_what_an_upload_is(owner: Owner) -> None:
    """Else the timer would open a second tuning for what a door has opened."""
    for path in (PATH, "rows.jsonl", "a/b/c.parquet", "support-bot/_recipe.json"):
        owner.upload(path, ROWS)
    listed = {upload.path: upload for upload in owner.datasets.uploads()}

    assert len(listed) == 4
    assert {path: owner.datasets.head(path) for path in listed} == listed


def test_overwriting_makes_another_upload_of_the_same_service(owner: Owner) -> None:
    owner.upload(PATH, ROWS)
    first = owner.datasets.head(PATH)
    owner.upload(PATH, ROWS)
    second = owner.datasets.head(PATH)

    assert first is not None
    assert second is not None
    assert first.id != second.id


# ---------------------------------------------------------------------------------------------------------------- copies


class OneCopy(BaseAdapter):
    """
    Answers as Blob Storage does for a container of one blob, whose last copy into it has this status. Azurite ends each copy at once and
    can show none that is under way. A listing tells of copies only to who asks for them.
    """

    def __init__(self, status: str | None) -> None:
        super().__init__()
        self.copy = (
            {"id": "c1", "status": status, "source": "https://other.blob.core.windows.net/c/b", "progress": "1/4096"} if status else {}
        )

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        asked = parse_qs(urlsplit(str(request.url)).query)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, str(request.url)
        body = b""
        if request.method == "HEAD":
            answer.headers.update(HEAD | {f"x-ms-copy-{name}": str(value) for name, value in self.copy.items()})
        else:
            assert asked["comp"] == ["list"]
            shown = self.copy if "copy" in ",".join(asked.get("include", [])).split(",") else {}
            told = "".join(f"<Copy{name.title()}>{value}</Copy{name.title()}>" for name, value in shown.items())
            body = LISTING.format(told=told).encode()
            answer.headers["Content-Type"] = "application/xml"
        answer.raw = io.BytesIO(body)
        return answer

    def close(self) -> None: ...


MODIFIED = "Tue, 24 Nov 2026 12:00:00 GMT"
HEAD = {"Content-Length": "4096", "ETag": '"0x8D4"', "Last-Modified": MODIFIED, "x-ms-blob-type": "BlockBlob"}
LISTING = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<EnumerationResults ServiceEndpoint="https://acc.blob.core.windows.net/" ContainerName="datasets"><Blobs><Blob>'
    f"<Name>shop/a.jsonl</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified><Etag>0x8D4</Etag>"
    "<Content-Length>4096</Content-Length><BlobType>BlockBlob</BlobType>{told}</Properties></Blob></Blobs>"
    "<NextMarker /></EnumerationResults>"
)


@pytest.mark.light
@pytest.mark.parametrize(
    ("status", "whole"), [(None, True), ("success", True), ("pending", False), ("failed", False), ("aborted", False)], ids=str
)
def test_a_blob_that_is_still_being_copied_is_no_upload_for_a_door_and_none_for_the_timer(status: str | None, whole: bool) -> None:
    session = requests.Session()
    session.mount("https://", OneCopy(status))
    with RequestsTransport(session=session, session_owner=False) as transport:
        container = ContainerClient("https://acc.blob.core.windows.net", "datasets", transport=transport, retry_total=0)
        datasets = BlobDatasets(container, container, datastore="tuneloop_prepared")
        listed, seen = list(datasets.uploads()), datasets.head("shop/a.jsonl")

    assert listed == ([seen] if whole else [])
    assert (seen is not None) is whole


# ----------------------------------------------------------------------------------------------------------------- open


def test_an_upload_is_read_to_its_last_byte(owner: Owner) -> None:
    owner.upload(PATH, ROWS)
    upload = owner.datasets.head(PATH)
    assert upload is not None

    assert b"".join(owner.datasets.open(upload)) == ROWS


@pytest.mark.parametrize("how", ["overwritten", "overwritten with the same bytes", "deleted"])
def test_a_version_that_is_gone_is_not_read(owner: Owner, how: str) -> None:
    owner.upload(PATH, ROWS)
    upload = owner.datasets.head(PATH)
    assert upload is not None
    if how == "deleted":
        owner.delete(PATH)
    else:
        owner.upload(PATH, ROWS if "same" in how else b"other")

    with pytest.raises(UploadChanged):
        list(owner.datasets.open(upload))


@pytest.mark.parametrize("how", ["overwritten", "deleted"])
def test_bytes_of_two_versions_are_never_mixed(how: str, new_container: Callable[[str], ContainerClient], storage: str) -> None:
    """The blob changes after its first kilobyte was read: every later range is asked for with the version's ETag."""
    owner = BlobOwner(new_container)
    owner.upload(PATH, ROWS)
    upload = owner.datasets.head(PATH)
    assert upload is not None
    reader = owner.datasets.open(upload)
    assert len(next(reader)) == SMALL_RANGE
    if how == "deleted":
        owner.delete(PATH)
    else:
        owner.upload(PATH, b"x" * len(ROWS))

    with pytest.raises(UploadChanged):
        list(reader)


# --------------------------------------------------------------------------------------------------------------- wishes


def test_without_a_recipe_file_nothing_is_wished(datasets: Datasets) -> None:
    assert datasets.wishes("support-bot") == {}


@pytest.mark.parametrize(
    ("folder", "file"), [("support-bot", "support-bot/_recipe.json"), ("a/b", "a/b/_recipe.json"), ("", "_recipe.json")]
)
def test_wishes_are_read_from_the_folder_of_the_upload(owner: Owner, folder: str, file: str) -> None:
    owner.upload(file, b'\n{"num_train_epochs": 2}')
    owner.upload("elsewhere/_recipe.json", b'{"num_train_epochs": 9}')

    assert owner.datasets.wishes(folder) == {"num_train_epochs": 2}


def test_an_empty_recipe_file_wishes_nothing(owner: Owner) -> None:
    owner.upload("shop/_recipe.json", b"")

    assert owner.datasets.wishes("shop") == {}


@pytest.mark.parametrize(
    "content",
    [b"{'a': 1}", b"[1]", b"3", b"null", b'"x"', b"\xff\xfe\xfd", b'{"a": 1' + b" " * 70_000 + b"}", b"[" * 60_000],
    ids=["Python", "list", "number", "null", "text", "no text", "too long", "nested without end"],
)
def test_a_recipe_file_that_is_no_table_is_refused(owner: Owner, content: bytes, request: pytest.FixtureRequest) -> None:
    if "too long" in request.node.name and isinstance(owner, FakeOwner):
        return  # the fake has no limit
    owner.upload("shop/_recipe.json", content)

    with pytest.raises(Rejected, match=r"_recipe\.json"):
        owner.datasets.wishes("shop")


# ----------------------------------------------------------------------------------------------------------- documents


def test_a_published_file_has_an_address_for_the_job(datasets: Datasets) -> None:
    assert datasets.uri("bot-1/abc", "train.jsonl") == "azureml://datastores/tuneloop_prepared/paths/bot-1/abc/train.jsonl"


def test_a_document_is_read_as_it_was_written_last(datasets: Datasets) -> None:
    datasets.write("bot-1/smoke/d1.json", {"answer": "Größe 文"})
    datasets.write("bot-1/smoke/d1.json", {"answer": "In hall 3.", "n": 1})

    assert datasets.read("bot-1/smoke/d1.json") == {"answer": "In hall 3.", "n": 1}
    assert datasets.read("bot-1/smoke/d2.json") is None


def test_what_a_place_publishes_is_read_from_the_prepared_container(datasets: Datasets) -> None:
    place = datasets.place("bot-1/tuning", "bot-1")
    staged = place.stage("rows.json")
    staged.write(b'{"rows": ')
    staged.write(b"3}")
    staged.commit("0" * 64)
    place.put("samples.json", b'{"samples": []}', "application/json")
    there = place.publish("ab" * 32, {"rules": 2})

    assert there == {"rules": 2, "content_sha256": "ab" * 32, "folder": "bot-1/tuning"}
    assert datasets.read("bot-1/abababababababab/manifest.json") == there
    assert datasets.read(f"{there['folder']}/rows.json") == {"rows": 3}
    assert datasets.read(f"{there['folder']}/samples.json") == {"samples": []}


# ----------------------------------------------------------------------------------------------------------------- sets


def chats(about: str, rows: int = 30) -> bytes:
    turns = '{{"messages":[{{"role":"user","content":"{0} {1}?"}},{{"role":"assistant","content":"It is {1}."}}]}}\n'
    return "".join(turns.format(about, number) for number in range(rows)).encode()


def test_a_set_is_read_file_by_file_in_the_versions_that_it_names(owner: Owner, tmp_path: Path) -> None:
    owner.upload("shop/_members/train.jsonl", chats("Where") + chats("When", rows=3))
    owner.upload("shop/_members/t 文.jsonl", chats("When"))
    test = owner.datasets.head("shop/_members/t 文.jsonl")
    assert test is not None
    named = {"train": ["_members/train.jsonl"], "test": {"path": "_members/t 文.jsonl", "etag": f'"{test.etag}"'}}
    owner.upload("shop/_dataset.json", json.dumps(named).encode())
    upload = owner.datasets.head("shop/_dataset.json")
    assert upload is not None
    found = sets.sources(owner.datasets, upload, now=upload.last_modified)
    outcome = prepare.prepare(found, owner.datasets.place("shop-1/a", "shop-1"), options=prepare.Options(), workdir=tmp_path)

    assert isinstance(outcome, prepare.Prepared)
    assert outcome.report["codes"]["prompt_leaks"]["count"] == 3
    assert outcome.files["test"].rows == 30
    assert owner.datasets.read("shop-1/a/report.json") == outcome.report

    owner.upload("shop/_members/t 文.jsonl", chats("Why"))
    with pytest.raises(UploadChanged, match="t 文"):
        list(found[1].chunks())


# ------------------------------------------------------------------------------------------------------------ addresses

NASTY_TEXT = st.text(alphabet="ab./\\%2e?#&=:@\ud800é文 +~", min_size=1, max_size=16)
CONTAINER = ContainerClient("https://acc.blob.core.windows.net", "datasets", credential=None)


@pytest.mark.light
@given(st.text(alphabet=st.characters(), min_size=1) | NASTY_TEXT)
@example("a%2e%2e/%2e%2e/models/x")
@example("a\\..\\..\\models")
@example("?comp=list")
def test_what_the_check_lets_through_is_asked_for_inside_the_container_and_nowhere_else(text: str) -> None:
    """The address is followed to the last step before the wire, where `requests` would resolve dot segments."""
    try:
        path = checked_path(text)
    except Rejected:
        return
    url = requests.Request("HEAD", CONTAINER.get_blob_client(path).url).prepare().url
    parts = urlsplit(str(url))

    assert parts.netloc == "acc.blob.core.windows.net"
    assert unquote(parts.path) == f"/datasets/{path}"
    assert not parts.query


def test_a_strange_but_safe_name_survives_the_way_to_storage_and_back(blobs: BlobServiceClient, storage: str) -> None:
    container = blobs.create_container("strange-names")
    datasets = BlobDatasets(container, container, datastore="x")
    for path in ("a%2e%2e/b.jsonl", "what?#not.jsonl", "文/ä ö.jsonl", "..a/...", "a+b&c=d.jsonl"):
        container.upload_blob(path, b"x")

        found = datasets.head(checked_path(path))
        assert found is not None
        assert found.path == path
    assert {upload.path for upload in datasets.uploads()} == set(container.list_blob_names())


# ------------------------------------------------------------------------------------------------------- jobs' files


def test_a_name_that_storage_does_not_take_is_not_asked_for(new_container: Callable[[str], ContainerClient], by_wire: ByWire) -> None:
    """What lies beside an upload has a name that may be longer than the upload's own."""
    wire = Wire()
    datasets = BlobDatasets(by_wire(new_container("datasets"), wire), new_container("prepared"), datastore="tuneloop_prepared")
    folder = "x" * 1020

    assert datasets.head(f"{folder}/_tokenizer.json") is None
    assert datasets.wishes(folder) == {}
    assert wire.requests == 0


def test_the_files_of_one_folder_are_seen_with_their_sizes_and_the_small_ones_with_their_hash(datasets: Datasets) -> None:
    folder = datasets.place("shop/uploads/a-a1", "shop/datasets")
    folder.put("small.json", b"{}", "application/json")
    folder.put("large.jsonl", b"x" * 100, "application/json")
    datasets.place("shop/uploads/a-a12", "shop/datasets").put("of-another.json", b"{}", "application/json")

    assert datasets.files("shop/uploads/a-a1", hashed_bytes_max=99) == {
        "small.json": (2, hashlib.sha256(b"{}").hexdigest()),
        "large.jsonl": (100, None),
    }
    assert datasets.files("shop/uploads/nothing", hashed_bytes_max=99) == {}
