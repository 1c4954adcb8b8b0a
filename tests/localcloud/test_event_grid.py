"""Event Grid as it runs: real webhooks, its own threads, Azurite for dead letters and uploads, a process that is killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from localcloud.azurite import Azurite
from localcloud.eventgrid import BlobWatcher, Driver, EventGrid, driver, parse_all
from localcloud.eventgrid.blobs import Options, Uploads
from localcloud.eventgrid.deadletters import BlobBox
from localcloud.eventgrid.service import Service
from localcloud.eventgrid.topics import DEFAULT_TOPICS, Topics
from tests.localcloud.hosts import ROOT, until

EVENT = {
    "id": "1",
    "topic": "/subscriptions/s/storageAccounts/a",
    "subject": "/a/b",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-08-08T05:00:00.0000000Z",
    "data": {},
    "dataVersion": "",
    "metadataVersion": "1",
}


class Receiver:
    """A webhook that answers with the given codes, then 200, and remembers what it got."""

    def __init__(self, codes: list[int]) -> None:
        self.codes, self.got = codes, list[tuple[str, Message, Any]]()  # method, headers, body
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_OPTIONS(self) -> None:
                receiver.got.append(("OPTIONS", self.headers, None))
                return self.reply(200, {}, **{"WebHook-Allowed-Origin": self.headers["WebHook-Request-Origin"]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["aeg-event-type"] == "SubscriptionValidation":
                    return self.reply(200, {"validationResponse": body[0]["data"]["validationCode"]})
                receiver.got.append(("POST", self.headers, body))
                status = receiver.codes.pop(0) if receiver.codes else 200
                return self.reply(status, {}, **({"Location": "/elsewhere"} if status == 302 else {}))

            def reply(self, status: int, document: dict[str, Any], **headers: str) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/hook"
        self.subscription = {"name": "one", "topic": "storage", "endpoint": self.endpoint}
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def counts(self) -> list[str]:
        return [headers["aeg-delivery-count"] for _, headers, _ in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(*codes: int) -> Receiver:
        started.append(Receiver(list(codes)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def grid() -> Iterator[Callable[..., EventGrid]]:
    started: list[Driver] = []

    def start(*subscriptions: dict[str, Any], **options: Any) -> EventGrid:
        made = EventGrid(parse_all(list(subscriptions)), **{"pace": 0.001, **options})
        started.append(Driver(made))
        started[-1].start()
        return made

    yield start
    for one in started:
        one.stop()


@pytest.mark.light
def test_an_event_is_delivered_again_until_the_receiver_says_yes(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive(500, 302, 503)
    one = grid(receiver.subscription)

    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"], "the delivery")
    assert receiver.counts() == ["0", "1", "2", "3"]
    method, headers, body = receiver.got[0]
    assert (method, body, headers["aeg-subscription-name"], headers["aeg-event-type"]) == ("POST", [EVENT], "ONE", "Notification")
    assert headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.light
def test_a_receiver_that_speaks_no_http_is_asked_again(grid: Callable[..., EventGrid]) -> None:
    """Another program on the port, say, or TLS where none was named: neither its handshake nor an event may stay behind for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        one = grid({"name": "one", "topic": "storage", "endpoint": f"http://127.0.0.1:{listener.getsockname()[1]}/"})
        one.publish("storage", EVENT)

        for _ in range(3):
            client, _ = listener.accept()
            with client:
                client.recv(65_536)
                client.sendall(b"-ERR unknown command\r\n")

    assert one.stats()["pending"] == 1


@pytest.mark.light
def test_delivery_that_fails_neither_spins_nor_fills_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[float] = []

    class Broken:
        """A grid whose disk is full."""

        changed = threading.Condition()

        def advance(self) -> None:
            asked.append(time.monotonic())
            raise OSError("The disk is full.")

        def close(self) -> None: ...

    monkeypatch.setattr(driver, "LOOK_EVERY_S", 0.1)
    driven = Driver(Broken())  # type: ignore[arg-type]
    driven.start()
    until(lambda: len(asked) >= 3, "three tries")
    driven.stop()

    assert asked[2] - asked[0] > 0.15
    assert [record.message for record in caplog.records] == ["Event delivery fails; it is tried again every second."]


@pytest.mark.light
def test_a_cloud_event_is_one_structured_object_behind_its_own_handshake(
    receive: Callable[..., Receiver], grid: Callable[..., EventGrid]
) -> None:
    receiver = receive()
    chosen = {"eventDeliverySchema": "CloudEventSchemaV1_0", "deliveryHeaders": {"x-functions-key": "secret"}}
    one = grid(receiver.subscription | chosen)

    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"], "the delivery")
    (asked, asked_headers, _), (_, headers, body) = receiver.got
    assert (asked, asked_headers["WebHook-Request-Origin"], asked_headers["x-functions-key"]) == (
        "OPTIONS",
        "eventgrid.azure.net",
        "secret",
    )
    assert (headers["Content-Type"], headers["x-functions-key"]) == ("application/cloudevents+json; charset=utf-8", "secret")
    assert body == {
        "specversion": "1.0",
        "id": "1",
        "type": "Microsoft.Storage.BlobCreated",
        "source": "/subscriptions/s/storageAccounts/a",
        "subject": "/a/b",
        "time": "2026-08-08T05:00:00.0000000Z",
        "data": {},
    }


@pytest.mark.light
def test_an_event_waits_for_a_receiver_that_starts_later(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive()
    late = {**receiver.subscription, "name": "late", "endpoint": "http://127.0.0.1:9/nobody"}
    one = grid(late, receiver.subscription)

    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"] == 1, "the other's delivery")
    assert one.stats()["pending"] == 1
    assert {each["name"]: each["proved"] for each in one.subscriptions()} == {"late": False, "one": True}


@pytest.mark.light
def test_a_topic_of_ones_own_is_delivered_to_who_subscribed(
    receive: Callable[..., Receiver], grid: Callable[..., EventGrid], tmp_path: Path
) -> None:
    receiver = receive()
    one = grid({**receiver.subscription, "topic": "tuneloop", "eventDeliverySchema": "CloudEventSchemaV1_0"})
    topics = Topics(DEFAULT_TOPICS, one.publish, folder=tmp_path)
    event = {"specversion": "1.0", "id": "9", "source": "/w", "type": "T", "data": {"stage": "live"}, "comexampleext": "kept"}

    topics.accept("tuneloop", [event])
    topics.close()

    until(lambda: one.stats()["delivered"], "the delivery")
    assert [body for method, _, body in receiver.got if method == "POST"] == [event]


@pytest.mark.light
def test_a_reset_forgets_events_and_announcements_and_a_stopped_service_takes_none(tmp_path: Path) -> None:
    service = Service(tmp_path, storage="UseDevelopmentStorage=true", container="datasets")
    service.publish("storage", EVENT)
    service.topics.accept("tuneloop", [{"specversion": "1.0", "id": "9", "source": "/w", "type": "T"}])

    service.forget()
    service.advance()

    assert (service.topics.kept("tuneloop"), service.stats()) == ([], {})
    service.stop()


KILLED = """
import sys, json
from pathlib import Path
from localcloud.eventgrid import Driver, EventGrid, parse_all
grid = EventGrid(parse_all(json.loads(sys.argv[1])), store=Path(sys.argv[2]))
Driver(grid).start()
for number in range(100):
    grid.publish("storage", {**json.loads(sys.argv[3]), "id": str(number)})
    print(number, flush=True)
sys.stdin.read()
"""


@pytest.mark.light
def test_kill_minus_nine_loses_no_event_that_was_taken_over(
    receive: Callable[..., Receiver], grid: Callable[..., EventGrid], tmp_path: Path
) -> None:
    receiver, file = receive(), tmp_path / "events.db"
    command = [sys.executable, "-c", KILLED, json.dumps([receiver.subscription]), str(file), json.dumps(EVENT)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        taken = [int(process.stdout.readline()) for _ in range(60)]
        process.send_signal(signal.SIGKILL)

    one = grid(receiver.subscription, store=file)

    until(lambda: one.stats()["pending"] == 0, "the rest")
    assert {str(number) for number in taken} <= {body[0]["id"] for _, _, body in receiver.got}


def test_a_refused_event_becomes_a_blob_in_azurite(
    receive: Callable[..., Receiver], grid: Callable[..., EventGrid], azurite: Azurite, container: ContainerClient
) -> None:
    receiver = receive(400)
    one = grid(receiver.subscription | {"deadLetterContainer": container.container_name}, box=BlobBox(azurite.connection_string))

    one.publish("storage", EVENT)

    until(lambda: one.stats()["dead_lettered"], "the dead letter")
    (name,) = container.list_blob_names()
    (letter,) = json.loads(container.download_blob(name).readall())
    assert name.split("/")[0] == "ONE"
    assert (letter["id"], letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == ("1", 1, "BadRequest")


def test_a_dead_letter_without_its_container_is_dropped(
    receive: Callable[..., Receiver], grid: Callable[..., EventGrid], azurite: Azurite
) -> None:
    one = grid(receive(400).subscription | {"deadLetterContainer": "nowhere"}, box=BlobBox(azurite.connection_string))

    one.publish("storage", EVENT)

    until(lambda: one.stats()["dropped"], "the end of it")


# ------------------------------------------------------------------------------------------------------------------ blobs


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    name = f"watched-{uuid.uuid4().hex[:8]}"
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        yield service.create_container(name)


Watch = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def watch(azurite: Azurite, container: ContainerClient, tmp_path: Path) -> Watch:
    """Look at the container once, as a process that starts and ends; return what was published."""

    def look(**options: Any) -> list[dict[str, Any]]:
        published: list[dict[str, Any]] = []
        watcher = BlobWatcher(
            azurite.connection_string,
            container.container_name,
            lambda topic, event: published.append({"on": topic, **event}),
            options=Options(**options),
            seen=tmp_path / "events.db",
        )
        watcher.look()
        watcher.stop()
        return published

    return look


def test_each_version_of_a_blob_is_published_once_also_after_a_restart(container: ContainerClient, watch: Watch) -> None:
    blob = container.get_blob_client("team/x.jsonl")
    blob.upload_blob(b"one")
    (first,) = watch()
    assert watch() == []

    blob.upload_blob(b"two", overwrite=True)
    (second,) = watch()

    assert watch() == []
    assert first["on"] == "storage"
    assert first["subject"] == f"/blobServices/default/containers/{container.container_name}/blobs/team/x.jsonl"
    assert second["data"]["eTag"] == blob.get_blob_properties().etag
    assert (second["data"]["api"], second["data"]["contentLength"], second["data"]["url"]) == ("PutBlob", 3, blob.url)
    assert first["data"]["sequencer"] < second["data"]["sequencer"]
    assert len(first["data"]["sequencer"]) == 48


def test_blocks_and_copies_are_told_as_such(container: ContainerClient, watch: Watch) -> None:
    blocks = container.get_blob_client("blocks")
    blocks.stage_block("AAAA", b"x")
    blocks.commit_block_list(["AAAA"])  # type: ignore[list-item]
    container.get_blob_client("copy").start_copy_from_url(blocks.url)

    assert {event["subject"].rpartition("/")[2]: event["data"]["api"] for event in watch()} == {
        "blocks": "PutBlockList",
        "copy": "CopyBlob",
    }


@pytest.mark.parametrize(
    ("uploads", "told"),
    [
        (Uploads.FLAT, [("PutBlob", 5)]),
        (Uploads.TWICE, [("PutBlob", 0), ("PutBlockList", 5)]),
        (Uploads.HIERARCHICAL, [("CreateFile", 0), ("FlushWithClose", 0)]),
        (Uploads.SFTP, [("SftpCreate", 0), ("SftpCommit", 0)]),
    ],
)
def test_what_one_upload_raises_depends_on_the_account(
    container: ContainerClient, watch: Watch, uploads: Uploads, told: list[tuple[str, int]]
) -> None:
    container.upload_blob("x", b"12345")

    events = watch(uploads=uploads)

    assert [(event["data"]["api"], event["data"]["contentLength"]) for event in events] == told
    assert len({event["id"] for event in events}) == len(told)
    assert ["clientRequestId" in event["data"] for event in events] == [uploads is not Uploads.SFTP] * len(told)


def test_an_etag_can_be_bare_and_a_deletion_be_told(container: ContainerClient, watch: Watch) -> None:
    container.upload_blob("x", b"1")
    (created,) = watch(etag="bare", deletions=True)
    container.delete_blob("x")

    (deleted,) = watch(etag="bare", deletions=True)

    assert '"' not in created["data"]["eTag"]
    assert (deleted["eventType"], deleted["data"]["eTag"]) == ("Microsoft.Storage.BlobDeleted", created["data"]["eTag"])
    assert watch(deletions=True) == []
