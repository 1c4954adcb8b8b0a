"""
Whatever an event says and whatever a blob is called: the SDK's requests go to the containers of the settings, or nowhere.

The clients are the app's own, unmodified, with a credential that hands out a token; only the last step before the wire is ours. There the
address is what `requests` makes of it, dot segments resolved, and the token is seen on its way.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import azure.functions as func
import pytest
import requests
from azure.ai.ml._utils._storage_utils import AzureMLDatastorePathUri
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpTransport
from azure.storage.blob import BlobServiceClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import doors, errors, wiring
from shared.cloud.datasets import BlobDatasets
from shared.domain import names
from shared.domain.upload import Upload, checked_path, folder_of, service_of
from shared.reconcile import arrivals
from tests.journeys import fakes

pytestmark = pytest.mark.light

ACCOUNT = "https://acc.blob.core.windows.net"
TOPIC = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/acc"
OURS = "/blobServices/default/containers/datasets/blobs/"


class Credential:
    """Hands out a token to whoever asks; the test looks where it travels."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("a-token-of-ours", 1 << 40)


class Wire(HttpTransport[Any, Any]):
    """Writes down the address that would be asked and the token that would travel, and lets nothing out."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []  # method, final address, Authorization

    def send(self, request: Any, **_: Any) -> Any:
        prepared = requests.Request(request.method, request.url).prepare()
        self.asked.append((request.method, str(prepared.url), str(request.headers.get("Authorization", ""))))
        raise ServiceRequestError("nothing leaves")

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire()


@pytest.fixture(scope="module")
def datasets(wire: Wire) -> BlobDatasets:
    service = BlobServiceClient(ACCOUNT, Credential(), transport=wire, retry_total=0)
    containers = service.get_container_client("datasets"), service.get_container_client("prepared")
    return BlobDatasets(*containers, datastore="tuneloop_prepared", uploads_datastore="tuneloop_datasets", ahead=1)


@pytest.fixture
def world() -> fakes.World:
    return fakes.World()


@pytest.fixture
def rung(world: fakes.World, datasets: BlobDatasets, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Deliver one event to the app's own door, as Microsoft's library reads it."""
    loop = fakes.loop_over(world, tmp_path)
    loop = replace(loop, ports=replace(loop.ports, datasets=datasets))
    monkeypatch.setattr(wiring, "loop", lambda: loop)
    wire.asked.clear()

    def ring(*, subject: str, topic: str = TOPIC, **data: object) -> None:
        event = func.EventGridEvent(
            id="1", data={"api": "PutBlob", **data}, topic=topic, subject=subject, event_type="Microsoft.Storage.BlobCreated",
            event_time=None, data_version="",
        )  # fmt: skip
        with contextlib.suppress(errors.TryLater):  # storage is not there
            doors.dataset_event(event, who="dataset_event_received")

    return ring


# ---------------------------------------------------------------------------------------------------------------- events

FOREIGN_URLS = [
    "https://evil.example/datasets/shop/a.jsonl",
    "https://acc.blob.core.windows.net.evil/datasets/shop/a.jsonl",
    "https://acc.blob.core.windows.net@evil.example/datasets/shop/a.jsonl",
    "https://evil.example:443@acc.blob.core.windows.net/datasets/shop/a.jsonl",
    "https://acc.blob.core.windows.net:8443/datasets/shop/a.jsonl",
    "http://acc.blob.core.windows.net/datasets/shop/a.jsonl",
    "https://[::1]:10000/datasets/shop/a.jsonl",
    "https://[fe80::1%25eth0]/datasets/shop/a.jsonl",
    "https://169.254.169.254/metadata/identity/oauth2/token?resource=https://storage.azure.com/",
    "https://xn--cc-8ia.blob.core.windows.net/datasets/shop/a.jsonl",
    "https://аcc.blob.core.windows.net/datasets/shop/a.jsonl",  # the first letter is Cyrillic
    "file:///etc/passwd",
    "",
    None,
    ["https://evil.example"],
]


@pytest.mark.parametrize("url", FOREIGN_URLS, ids=str)
def test_an_event_whose_url_leads_elsewhere_makes_us_look_at_home_and_sends_no_token_away(
    rung: Callable[..., None], wire: Wire, url: object
) -> None:
    rung(subject=f"{OURS}shop/a.jsonl", url=url, destinationUrl=url, sourceUrl=url, validationUrl=url)

    assert wire.asked == [("HEAD", f"{ACCOUNT}/datasets/shop/a.jsonl", "Bearer a-token-of-ours")]


@pytest.mark.parametrize(
    "subject",
    [
        "/blobServices/default/containers/$web/blobs/a.jsonl",
        "/blobServices/default/containers/azure-webjobs-hosts/blobs/a.jsonl",
        "/blobServices/default/containers/azure-webjobs-secrets/blobs/host.json",
        "/blobServices/default/containers/prepared/blobs/shop-1/uploads/a/train.jsonl",
        "/blobServices/default/containers/ledger/blobs/owner.json",
        "/blobServices/default/containers/prepared/blobs/x/blobServices/default/containers/datasets/blobs/a.jsonl",
        "/blobServices/default/containers/datasets/../ledger/blobs/owner.json",
        "/blobServices/default/containers/datasets%2f..%2fledger/blobs/owner.json",
        "https://evil.example/blobServices/default/containers/datasets/blobs/a.jsonl",
        "//evil.example/blobServices/default/containers/datasets/blobs/a.jsonl",
        f"{OURS}../ledger/owner.json",
        f"{OURS}x/blobs/../../containers/models/blobs/y",
        f"{OURS}x/blobs/../../../ledger/blobs/owner.json",
        f"{OURS}/etc/passwd",
        f"{OURS}//evil.example/a.jsonl",
        f"{OURS}https://evil.example/a.jsonl",
        f"{OURS}a.jsonl\r\nHost: evil.example",
        f"{OURS}a\0.jsonl",
        f"{OURS}shop/_recipe.json",
        OURS + "x" * 1_025,
    ],
    ids=lambda subject: subject[-60:],
)
@pytest.mark.parametrize("slash", ["", "/"], ids=["as it is", "one slash more"])
def test_an_event_about_another_container_or_a_name_that_leads_out_asks_for_nothing(
    rung: Callable[..., None], wire: Wire, world: fakes.World, subject: str, slash: str
) -> None:
    rung(subject=f"{slash}{subject}", url=f"{ACCOUNT}/datasets/a.jsonl")

    assert wire.asked == []
    assert (world.records, world.queue, world.calls) == ({}, [], 0)


@pytest.mark.parametrize(
    "topic",
    [
        TOPIC + ".evil", TOPIC + "@evil", TOPIC + ":443", TOPIC + "/", f"{TOPIC}/blobServices", TOPIC + "\n", TOPIC.replace("acc", "ácc"),
        TOPIC.replace("acc", "xn--cc-8ia"), TOPIC.replace("acc", "evilacc"), TOPIC.replace("acc", "accevil"),
        TOPIC.replace("acc", "acc/evilacc"), f"{TOPIC}/../other", "acc.blob.core.windows.net.evil", "https://evil.example", "[::1]", "",
    ],
)  # fmt: skip
def test_an_event_of_another_account_asks_for_nothing(rung: Callable[..., None], wire: Wire, world: fakes.World, topic: str) -> None:
    rung(subject=f"{OURS}shop/a.jsonl", topic=topic)

    assert wire.asked == []
    assert world.calls == 0


@pytest.mark.parametrize("path", ["x/blobs/y.jsonl", "blobs/blobs", "a/containers/ledger/blobs/owner.jsonl", "datasets/blobs/b.jsonl"])
def test_words_of_an_address_inside_a_name_are_a_part_of_the_name(rung: Callable[..., None], wire: Wire, path: str) -> None:
    rung(subject=f"{OURS}{path}")

    assert [url for _, url, _ in wire.asked] == [f"{ACCOUNT}/datasets/{path}"]


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abc/.%?#@:\\[]blobs ", max_size=40) | st.text(max_size=40), data=st.dictionaries(st.text(), st.text()))
def test_no_event_at_all_makes_us_ask_outside_of_the_container(text: str, data: dict[str, object]) -> None:
    """Goal: any subject, topic and data. Method: a door of its own for each, since hypothesis runs many through one fixture."""
    wire = Wire()
    service = BlobServiceClient(ACCOUNT, Credential(), transport=wire, retry_total=0)
    found = BlobDatasets(service.get_container_client("datasets"), service.get_container_client("prepared"), datastore="x")
    world = fakes.World()
    loop = fakes.loop_over(world, Path())
    loop = replace(loop, ports=replace(loop.ports, datasets=found))
    for subject, topic in ((f"{OURS}{text}", TOPIC), (text, TOPIC), (f"{OURS}a", TOPIC + text)):
        event = doors._envelope(
            func.EventGridEvent(
                id="1",
                data=data,
                topic=topic,
                subject=subject,
                event_type="Microsoft.Storage.BlobCreated",
                event_time=None,
                data_version="",
            )
        )
        with contextlib.suppress(errors.TryLater):
            arrivals.dataset_event(loop, event, who="door")

    for _, url, _ in wire.asked:
        assert url.startswith(f"{ACCOUNT}/datasets/")
    assert world.records == {}


# ----------------------------------------------------------------------------------------------------------------- names

NASTY_TEXT = st.text(alphabet="ab./\\%2e?#&=:@\u2028\ud800é文 +~_", min_size=1, max_size=24)
ANY_NAME = st.text(alphabet=st.characters(), min_size=1, max_size=60) | NASTY_TEXT


def calls_for(datasets: BlobDatasets, path: str) -> Iterator[tuple[Callable[[], object], str, str]]:
    """Yield every call that the app makes for an upload of this name: the call, and container and blob that it may ask for."""
    owner, service, folder = fakes.OWNER, service_of(path), folder_of(path)
    upload = Upload(account="acc", container="datasets", path=path, etag="0x1", size=9, last_modified=fakes.NOON)
    beside = f"{folder}/" if folder else ""
    yield lambda: datasets.head(path), "datasets", path
    yield lambda: list(datasets.open(upload)), "datasets", path
    yield lambda: datasets.head(f"{beside}_tokenizer.json"), "datasets", f"{beside}_tokenizer.json"
    yield lambda: datasets.wishes(folder), "datasets", f"{beside}_recipe.json"

    out = names.prepared_folder(owner, service, upload.id, "options")
    job, manifests = names.prepared_by_a_job(out, 1), names.manifests(owner, service)
    manifest, smoke = f"{manifests}/{'0' * 16}/manifest.json", names.smoke_path(owner, service, "d1-0")
    yield lambda: datasets.place(out, manifests).put("report.json", b"{}", "application/json"), "prepared", f"{out}/report.json"
    yield lambda: staged(datasets, out, manifests), "prepared", f"{out}/train.jsonl"
    yield lambda: datasets.place(out, manifests).published("0" * 64), "prepared", manifest
    yield lambda: datasets.place(out, manifests).publish("0" * 64, {}), "prepared", manifest
    yield lambda: datasets.write(f"{job}/order.json", {}), "prepared", f"{job}/order.json"
    yield lambda: datasets.read(smoke), "prepared", smoke
    yield lambda: datasets.files(job, hashed_bytes_max=1), "prepared", ""  # a listing: its prefix is in the query


def staged(datasets: BlobDatasets, folder: str, manifests: str) -> None:
    file = datasets.place(folder, manifests).stage("train.jsonl")
    try:
        file.write(b"x")
        file.commit("0" * 64)
    finally:
        file.abandon()


@settings(max_examples=120, deadline=None)
@given(text=ANY_NAME)
@example(text="a%2e%2e/%2e%2e/models/x")
@example(text="a\\..\\..\\models")
@example(text="?comp=list&restype=container")
@example(text="..%2f..%2fledger/owner.json")
@example(text="文/ä#/x?y")
def test_every_call_for_any_name_stays_in_its_container_down_to_the_wire(datasets: BlobDatasets, wire: Wire, text: str) -> None:
    try:
        path = checked_path(text)
    except errors.Rejected:
        return
    for call, container, blob in calls_for(datasets, path):
        wire.asked.clear()
        with contextlib.suppress(errors.TuneloopError):
            call()

        if len(blob) <= 1_024:
            assert wire.asked, blob
        for _, url, _ in wire.asked:
            parts = urlsplit(url)
            assert (parts.scheme, parts.netloc) == ("https", "acc.blob.core.windows.net")
            assert unquote(parts.path).rstrip("/") == f"/{container}/{blob}".rstrip("/")


@given(text=ANY_NAME)
@example(text="a/datastores/evil/paths/x")
@example(text="a?b#c%2e%2e")
def test_the_address_that_a_job_is_given_is_of_our_datastore_and_of_exactly_this_name(datasets: BlobDatasets, text: str) -> None:
    """As azure-ai-ml itself takes such an address apart. That it lies in the datastore of the container is all that a job may read."""
    try:
        path = checked_path(text)
    except errors.Rejected:
        return
    read = AzureMLDatastorePathUri(datasets.upload_uri(path))

    assert (read.datastore, read.path, read.workspace_name) == ("tuneloop_datasets", path, None)


@settings(max_examples=300)
@given(text=st.text(alphabet="0123456789abcdef./\\-\n", max_size=16) | st.text(max_size=16))
@example(text="../../models/x")
@example(text="0123456789ab\n")
@example(text="0123456789ab/../x")
def test_a_message_whose_id_is_no_id_is_not_ours_and_names_no_blob(text: str) -> None:
    """An id is a part of a blob's name in the ledger, so a queue message may not choose it freely."""
    read = arrivals.message(json.dumps({"kind": "tuning", "id": text, "who": "x"}))

    assert read is None or (read[0].id == text and set(text) <= set("0123456789abcdef") and len(text) == 12)
